"""Generated street scenes with pedestrians and exact masks.

Each module imports only those above it:

    paint        colours, fabrics, and a supersampled sheet to draw one thing on
    scenery      the camera, sky and weather, and a canvas for the background
    appearance   how a person looks, and the joints of a walking or standing person
    people       a whole person, drawn from appearance and pose
    night        a scene after dark, under street lamps
    objects      street furniture, plants, cars, bicycles and a dog
    buildings    rows of houses
    places       streets, squares and parks
    street       a complete scene: occlusion, shadows, image and ids
    dataset      many scenes as a dataset in the Penn-Fudan layout
"""

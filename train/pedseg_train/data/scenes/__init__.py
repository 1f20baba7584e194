"""Generated street scenes with pedestrians and exact masks.

Each module imports only those above it:

    paint         colours, fabrics, and a supersampled sheet to draw one thing on
    camera        projection of world points to the image
    wardrobe      a person's appearance: body, hair, clothes, bags
    pose          the joints of a walking person
    heads         a person's head
    figures       a whole person, drawn from appearance and pose
    objects       street furniture and plants
    vehicles      cars, bicycles and a dog
    backgrounds   sky and weather, and a canvas for the background
    buildings     rows of houses
    places        streets, squares and parks
    composition   occlusion, shadows, ids
    street        a complete scene: image and ids
"""

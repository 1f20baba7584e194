"""Generated street scenes: pictures with pedestrians whose masks are known exactly.

Each module knows those above it:

    paint         colours, fabrics, and a supersampled sheet to draw one thing on
    camera        where a point of the world lands in the picture
    wardrobe      how a person looks: body, hair, clothes, bags
    pose          where a walking person's joints are
    heads         a person's head
    figures       a whole person, drawn from look and pose
    objects       what stands in a street and is no person
    vehicles      cars, bicycles and a dog
    backgrounds   sky and weather, and a canvas for what does not move
    buildings     rows of houses
    places        streets, squares and parks
    composition   who hides whom, shadows, ids
    street        all of it together: one picture and its ids
"""

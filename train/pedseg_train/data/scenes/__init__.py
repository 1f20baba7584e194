"""Generated street scenes: pictures with pedestrians whose masks are known exactly.

camera       where a point of the world lands in the picture
paint        colours, fabrics, and a supersampled sheet to draw one thing on
wardrobe     how a person looks: body, hair, clothes, bags
pose         where a walking person's joints are
figures      a person, drawn from look and pose
objects      what stands in a street and is no person
backgrounds  sky, buildings, ground
street       all of it together: one picture and its ids
"""

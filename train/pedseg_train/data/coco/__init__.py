"""COCO JSON instance segmentation: reading, checking and writing it; needs no torch.

document       the JSON file itself, and what its lists must hold
segmentation   polygons and run lengths <-> masks
annotations    the annotations sorted by image, packed, with everything that is wrong
files          where the images are
images         `CocoImages`: the labelled images that all of it makes
check          what is there and what is wrong, for `pedseg-data check`
box_agreement  whether the file's boxes and masks agree
"""

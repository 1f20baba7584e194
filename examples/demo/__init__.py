"""The demo: every pedseg command once, on generated streets, and a page about what came out.

__main__        the commands in their order
steps           runs and times them
images          held-out images: as labelled, as found before and after fine-tuning
page            the page; templates/ holds how it looks
make_weights    makes the checkpoint that the short demo starts from
"""

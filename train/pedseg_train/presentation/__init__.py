"""What all HTML pages share: a layout, a style sheet, and plots that follow the page's colours.

page        jinja2 templates to one self-contained document; templates/ layout, macros, style
figures     matplotlib to inline SVG in the colours of the style sheet
charts      axes of a kind: a row per thing, curves with shapes, round ticks
"""

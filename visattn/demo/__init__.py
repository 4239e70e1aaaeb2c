"""The demo: prove, train, and a page that shows what attention looks at.

    look     what each kind of attention does to an image, as arrays
    show     the attention of one patch over your own image, as a figure
    charts   curves and tables as inline SVG
    page     all of it as one self-contained HTML file
    run      `visattn demo`: verify, train, look, write
"""

"""One page of plain HTML and script: draw two pictures, see what a network says of them.

`kpairs demo` serves it, and asks the runtime; `kpairs export --html` writes it with a network
inside, which the page runs itself. Nothing here needs keras or torch.
"""

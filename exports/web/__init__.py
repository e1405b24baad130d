"""Pages on this machine, and one page with a network inside. No keras, no torch.

`kpairs demo` serves a page that asks the runtime; `kpairs export --html` writes the same page with
the network, which the page runs itself.
"""

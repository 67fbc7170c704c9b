"""A trained network for use without enas.

operations.py  how each operation is written         blocks.py   the parts that it may need, in plain torch
folding.py     which parts of a graph repeat         names.py    what things are called
outline.py     what the module consists of           text.py     lines as a formatter leaves them
forward.py     the lines of a class                  module.py   the whole module
weights.py     its weights                           images.py, check.py  comparing it with the original
files.py       every format                          formats.py  which there are"""

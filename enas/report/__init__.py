"""A run as one page that needs nothing else: what it found, how sure that is, and how to repeat it.

what.py       what is known of a run           words.py     figures with their units
answer.py     the answer in sentences          curves.py    learning curves and choices
search.py     sections about one search        networks.py  sections about trained networks
searches.py   sections about several seeds     page.py      the page of a run, as HTML
blocks.py, page.html   what a page is made of, and its looks
"""

"""A run as one page that needs nothing else: what it found, how sure that is, and how to repeat it.

what.py       what is known of a run           answer.py    the answer in sentences
search.py     sections about one search        curves.py    learning curves and choices
searches.py   sections about several seeds     networks.py  sections about trained networks
page.py       the page of a run, as HTML
blocks.py, page.html   what a page is made of, and its looks
"""

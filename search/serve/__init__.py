"""A page on this machine that classifies photos: `carsearch serve`.

server.py  the HTTP server on the loopback, and what it refuses
assets/    the page
"""

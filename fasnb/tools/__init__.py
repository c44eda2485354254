"""What every room uses and no room owns: writing files, worker processes, numeric precision, where things lie.

It imports nothing else of the package.
"""

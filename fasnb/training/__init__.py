"""From a plan to scores: ``plan`` (which networks there are), ``run`` (make what is missing), ``fit`` (train one),
``pretraining`` (a backbone's source task), ``scoring``, ``archive`` (read what was made).

It imports ``paper``, ``data``, ``model`` and ``tools``, and the data set ``synthsurf``.
"""

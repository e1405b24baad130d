"""The page of `kpairs label`, on which people compare images; neither keras nor torch.

`answers` keeps pairs.csv, `session` chooses pairs and remembers people, `background` computes in
other processes, `training` makes a network there, `pictures` scales images, `server` has the
routes.
"""

"""The page of `kpairs label`, on which people compare images; neither keras nor torch.

`sitting` starts it, `session` knows what was answered: `answers` keeps pairs.csv, `images` knows
the files, `asking` chooses pairs, `scoring` computes by `thinking` in the processes of
`background`. `server` has links and routes, `training` makes a network.
"""

"""Exported models, in three rooms: `writing` makes files, `runtime` runs them, `web` serves pages.

`runtime` and `web` import neither keras nor torch.
"""

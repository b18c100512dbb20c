"""The evidence that content-aware networks are worth it: a matrix of measurements, and the document made from it.

`measure` fills CSV files (`rows`) from a manifest (`plan.toml`), cell by cell and over as many days as it takes;
`render` makes every plot and table of docs/content-aware.md from those files alone. What is measured on is never
trained on: `apart` checks it.
"""

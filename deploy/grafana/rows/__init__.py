"""The dashboard's rows, one file each, from what viewers get down to the node."""

from rows import guard, machine, node, quality, region, savings, viewers, workers

ROWS = [module.ROW for module in (viewers, quality, savings, machine, workers, guard, region, node)]

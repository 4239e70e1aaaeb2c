"""Data + model + loss + loop + metric + figure: one file a task.

    classify    which digit is it: a gated CNN, a vision transformer, a spatial transformer
    command     `visattn train`
"""

from visattn._namespace import lazy

__getattr__, __dir__ = lazy(__name__, __path__)

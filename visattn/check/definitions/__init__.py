"""Every operator's formula once more, index by index, in loops: slow, plain, and sharing no code with `visattn.ops`.

Same path and same name as the operator; one function, `forward`, which returns y alone.
"""

from visattn._namespace import lazy

__getattr__, __dir__ = lazy(__name__, __path__)

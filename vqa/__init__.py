"""What the scripts share: records, prompts, judging, models. Nothing here imports a script or a reward."""

import logging

# On every machine without a GPU bitsandbytes warns, at import, of a kernel package that nothing here needs.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

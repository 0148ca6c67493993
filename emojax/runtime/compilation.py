"""Set-up of JAX that every entry point shares."""

import jax

from emojax.runtime.files import cache_folder


def enable_compilation_cache() -> None:
  """Keeps compiled programs between runs, in the user's cache folder.

  Unless JAX is told of another (JAX_COMPILATION_CACHE_DIR).
  """
  if jax.config.jax_compilation_cache_dir is None:
    folder = cache_folder() / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

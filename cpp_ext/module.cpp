// medge._native: the Python face of the native code; each file binds its own part.
#include "bindings.hpp"

NB_MODULE(_native, m) {
  m.doc() = "Native parts of medge.";
  bind_scan(m);
  bind_packbits(m);
  bind_jpeg(m);
  bind_drop_fourth(m);
  bind_graph_scan(m);
  bind_finite(m);
  bind_palette_segments(m);
  bind_plan(m);
}

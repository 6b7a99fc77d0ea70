// One function per part of medge._native; module.cpp calls them all.
#pragma once
#include <nanobind/nanobind.h>

void bind_scan(nanobind::module_ &m);  // scan_binding.cpp
void bind_packbits(nanobind::module_ &m);  // packbits.cpp
void bind_drop_fourth(nanobind::module_ &m);  // drop_fourth.cpp
void bind_jpeg(nanobind::module_ &m);  // jpeg_binding.cpp
void bind_graph_scan(nanobind::module_ &m);  // graph_scan.cpp
void bind_finite(nanobind::module_ &m);  // finite.cpp
void bind_palette_segments(nanobind::module_ &m);  // palette_segments.cpp
void bind_plan(nanobind::module_ &m);  // plan_binding.cpp

#pragma once
/// \file
/// What the sweeps share: an index that is built once, and one parameter that takes several values.

#include <memory>
#include <vector>

#include "bench_session.h"
#include "command.h"

namespace ivf::cli {

/// One sweep in the terms of what differs between them.
struct SweepKind {
  const char* command;
  const char* description;
  const char* examples;
  const char* swept;        ///< The option whose place the list takes.
  const char* list_option;  ///< "--nq-list"
  const char* list_help;
  const char* shown;  ///< Default of the list, for the help.
  std::vector<std::uint64_t> values;
  std::uint64_t min;  ///< Smallest value that makes sense.
  Wanted wanted;
  bool recall_option;  ///< Whether --recall can ask for recall.
  std::uint64_t BenchPoint::*parameter;
  std::vector<SearchMode> modes;
};

std::unique_ptr<Command> make_sweep(SweepKind kind);

}  // namespace ivf::cli

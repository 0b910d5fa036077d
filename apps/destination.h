#pragma once
/// \file
/// Where an output goes, and whether it may go there.

#include <string>
#include <string_view>

#include "ivf/datasets/datasets.hpp"

namespace ivf::cli {

/// Formats that are rendered here; all others are those of datasets.
enum class TextFormat { none, table, tsv, jsonl };

struct Destination {
  std::string spec;  ///< As the user wrote it.
  std::string path;  ///< The file that will appear; "-" is standard output.
  TextFormat text = TextFormat::none;

  bool pipe() const noexcept { return path == "-"; }
  /// A pipe or device: it takes what is written at once, and cannot be replaced.
  bool stream() const noexcept;
};

/// Reads `FILE`, `FORMAT:FILE`, `FORMAT:-` or `-`. `fallback` is the text format of a bare "-"; TextFormat::none leaves
/// it to datasets (fvecs).
Destination parse_destination(const std::string& spec, TextFormat fallback = TextFormat::none);

/// Whether a source or destination names the big-ann ground-truth layout (`gt:FILE`), which holds ids and distances.
bool is_ground_truth(std::string_view spec) noexcept;

/// Refuses a name that tells no format, naming the formats that results are written in.
void check_result_format(const Destination& destination);

/// Refuses what would overwrite a file without --force, a directory that cannot be written, and binary data for a
/// terminal. Called before any work is done. Throws Error(misuse), or Error(failed) for directories.
void check_destination(const Destination& destination, bool force);

/// The element type that a destination stores: the one that its format fixes, else `otherwise`.
datasets::Element destination_element(const Destination& destination, datasets::Element otherwise);

}  // namespace ivf::cli

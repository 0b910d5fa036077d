#pragma once
/// \file
/// Ids as users name them: on the command line, in a text file, or as a matrix of integers.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ivf/ids.hpp"

namespace ivf::cli {

/// Calls `visit(first, last)`, both inclusive, for each id or range in the order in which they are named. `spec` is
///
///   `5` · `5,9,12` · `10-20` · `0-99,200,300-399`   ids and ranges
///   `FILE`, `@FILE`, `-`                            a text file (or a pipe) of them, one a line or with commas
///   `ids.npy`, `truth.ivecs`, `file.h5:name`, ...   a matrix of integers, row by row
///
/// A word of digits, commas and hyphens alone is ids; `@` in front makes it the name of a file. Files are read in
/// bounded memory. Throws Error(misuse) for what is on the command line and Error(corrupt) for what is in a file;
/// `option` names it in messages. -1 marks missing results and is no id.
void read_ids(const std::string& spec, const std::function<void(idx_t first, idx_t last)>& visit,
              std::string_view option = "--ids");

/// The same as a set. More than `memory` bytes of it are refused.
IdSet read_id_set(const std::string& spec, std::uint64_t memory, std::string_view option = "--ids");

/// Ids and ranges as they come, within bounded memory.
class IdRanges {
 public:
  /// While they grow, ranges take twice their room of `memory` bytes.
  explicit IdRanges(std::uint64_t memory) : most_(memory / (2 * sizeof(IdRange))) {}

  /// False when there is no room for another one. What goes on where the last one ended takes none.
  bool add(IdRange range);
  std::uint64_t most() const noexcept { return most_; }
  std::vector<IdRange> take() { return std::move(ranges_); }

 private:
  std::uint64_t most_;
  std::vector<IdRange> ranges_;
};

/// Whether the ids come from standard input.
bool is_standard_input(const std::string& spec);

/// Whether read_ids() reads the spec as a matrix of integers.
bool names_id_matrix(const std::string& spec);

/// An id or a range of them, first to last: "5", "10-20". None when it is something else.
std::optional<IdRange> parse_id_range(std::string_view text);

/// The same as a list, with every id of a range and every repetition. More than `most` are refused.
std::vector<idx_t> read_id_list(const std::string& spec, std::uint64_t most, std::string_view option = "--ids");

}  // namespace ivf::cli

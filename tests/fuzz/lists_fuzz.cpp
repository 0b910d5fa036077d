// Lists that people and programs write: ids, filters, and results of searches, as text and as lines of JSON.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "filters.h"
#include "fuzz.h"
#include "hit_files.h"
#include "id_list.h"
#include "result_files.h"

using namespace ivf;
using namespace ivf::fuzz;

namespace {

// Of which a line may take half: inputs reach that bound.
constexpr std::uint64_t kMemory = std::uint64_t{1} << 20;

/// A byte 1, n and c in the input stand for c, 2^n times: what is long or deep need not be long as an input.
std::string expanded(std::string_view input) {
  constexpr std::size_t kLongest = 2 * kMemory;
  std::string text;
  for (std::size_t i = 0; i < input.size() && text.size() < kLongest; ++i) {
    if (input[i] == '\1' && i + 2 < input.size()) {
      text.append(std::size_t{1} << (static_cast<std::uint8_t>(input[i + 1]) % 20), input[i + 2]);
      i += 2;
    } else {
      text += input[i];
    }
  }
  return text;
}

void check_ids(const std::string& text) {
  const MemoryFile file(text);
  accepted([&] {
    const std::vector<idx_t> ids = cli::read_id_list(file.path(), 65536);
    const IdSet set = cli::read_id_set(file.path(), 4 * kMemory);
    require(!set.contains(-1), "what marks missing results is no id");
    require(set.size() <= ids.size(), "a set holds an id once");
    require(std::all_of(ids.begin(), ids.end(), [&](idx_t id) { return set.contains(id); }),
            "a list and a set of ids are the same ids");
  });
}

void check_bits(const std::string& text) {
  const MemoryFile file(text);
  cli::FilterOptions options;
  options.allowed = "bits:" + file.path();
  accepted([&] {
    const auto filters = cli::open_filters(options, 0, 8 * kMemory);
    std::size_t taken = 0;
    const IdSet& ids = *filters->next(3, taken).front().filter.ids;
    require(taken == 3, "a filter for all queries");
    for (std::size_t i = 0; i < 8 * text.size() + 64; ++i) {
      const bool bit = i / 8 < text.size() && (static_cast<std::uint8_t>(text[i / 8]) >> (i % 8) & 1) != 0;
      require(ids.contains(static_cast<idx_t>(i)) == bit, "a bit is an id");
    }
  });
}

void check_filters(const std::string& text, std::uint64_t first) {
  const MemoryFile file(text, ".jsonl");
  cli::FilterOptions options;
  options.forbidden = file.path();
  accepted([&] {
    const auto filters = cli::open_filters(options, first, kMemory);
    require(filters->per_query(), "a filter for each query");
    for (;;) {  // Until the end of the file, which is an error.
      std::size_t taken = 0, placed = 0;
      for (const cli::FilteredQueries& group : filters->next(3, taken)) {
        require(!group.filter.ids->contains(-1), "what marks missing results is no id");
        for (const std::size_t query : group.queries) require(query < taken, "queries of the batch");
        placed += group.queries.size();
      }
      require(taken > 0 && placed == taken, "each query has one filter");
    }
  });
}

using Found = std::vector<std::pair<std::uint64_t, std::vector<idx_t>>>;

/// What merge-results reads; true when it is a file of results to its end.
bool read_hits(const std::string& spec, Found& found) {
  return accepted([&] {
    cli::HitFile file(spec, kMemory);
    for (; file.current() != nullptr; file.next()) {
      const cli::QueryHits& hits = *file.current();
      require(found.empty() || hits.query > found.back().first, "queries ascend");
      std::vector<idx_t>& ids = found.emplace_back(hits.query, std::vector<idx_t>()).second;
      for (const auto& [distance, id] : hits.hits) {
        require(!std::isnan(distance), "distances have an order");
        ids.push_back(id);
      }
    }
  });
}

/// What eval reads, which must be the same; it needs no distances.
void check_results(const std::string& text, const char* format) {
  const MemoryFile file(text);
  Found found;
  const bool sound = read_hits(format + file.path(), found);
  const bool read = accepted([&] {
    const auto results = cli::ResultFile::open(format + file.path(), 32 * kMemory);
    std::vector<idx_t> ids;
    std::uint64_t row = 0;
    std::size_t at = 0;
    for (int batch = 0; batch < 8; ++batch) {
      const std::size_t count = results->next(ids, 1000);
      require(ids.size() == count * results->width() && count <= 1000, "rows are whole");
      if (count == 0) require(row == results->rows(), "all rows come");
      for (std::size_t i = 0; sound && i < count; ++i, ++row) {
        std::vector<idx_t> expected;
        if (at < found.size() && found[at].first == row) expected = found[at++].second;
        expected.resize(results->width(), -1);
        require(std::equal(expected.begin(), expected.end(),
                           ids.begin() + static_cast<std::ptrdiff_t>(i * expected.size())),
                "eval reads what merge-results reads");
      }
      if (!sound) row += count;
    }
  });
  require(read || !sound, "eval reads what merge-results reads");
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  const std::uint8_t choice = input.byte();
  const std::string text = expanded(input.rest());
  switch (choice % 5) {
    case 0:
      check_ids(text);
      break;
    case 1:
      check_bits(text);
      break;
    case 2:
      check_filters(text, choice / 128);
      break;
    case 3:
      check_results(text, "tsv:");
      break;
    default:
      check_results(text, "jsonl:");
  }
  return 0;
}

#include "filters.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <unordered_map>

#include "bench/json_lines.h"
#include "id_list.h"
#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "signals.h"
#include "text_lines.h"

namespace ivf::cli {
namespace {

constexpr std::string_view bits_prefix = "bits:";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// Bit i of byte i / 8 stands for id i, as in faiss's IDSelectorBitmap.
IdSet read_bits(const std::string& path, std::uint64_t memory, std::string_view option) {
  std::ifstream file(path, std::ios::binary);
  if (!file) failed("{}: {}: cannot be opened; name a file of bits, one an id", option, path);
  constexpr std::size_t piece_words = 8192;
  std::vector<std::uint64_t> words;
  for (std::size_t end = 0;;) {
    throw_if_interrupted();
    words.resize(end + piece_words);
    file.read(reinterpret_cast<char*>(words.data() + end), piece_words * sizeof(std::uint64_t));
    const auto got = static_cast<std::size_t>(file.gcount());
    if (file.bad()) failed("{}: {}: cannot be read", option, path);
    end += (got + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
    // A vector that grows takes twice its room.
    if (2 * end * sizeof(std::uint64_t) > memory)
      misuse("{}: {}: takes more than {}; raise --max-memory", option, path, human_bytes(memory / 2));
    if (got == piece_words * sizeof(std::uint64_t)) continue;
    words.resize(end);
    return IdSet::of_bits(std::move(words));
  }
}

Filter make_filter(IdSet ids, bool forbid, FilterPlan plan) {
  return {std::make_shared<const IdSet>(std::move(ids)), forbid, plan};
}

class OneFilter final : public FilterSource {
 public:
  explicit OneFilter(Filter filter) : filter_(std::move(filter)) {}
  bool per_query() const noexcept override { return false; }
  std::vector<FilteredQueries> next(std::size_t nq, std::size_t& taken) override {
    taken = nq;
    return {{filter_, {}}};
  }

 private:
  Filter filter_;
};

/// Filters that come one after the other. Queries with the same ids are put together: they are searched at once.
class FilterSequence : public FilterSource {
 public:
  FilterSequence(const FilterOptions& options, std::uint64_t memory)
      : forbid_(options.forbids()), plan_(options.plan), memory_(memory) {}

  bool per_query() const noexcept override { return true; }

  std::vector<FilteredQueries> next(std::size_t nq, std::size_t& taken) override {
    std::vector<FilteredQueries> groups;
    std::unordered_map<std::string, std::size_t> places;
    std::uint64_t bytes = 0;
    for (taken = 0; taken < nq && bytes < memory_; ++taken) {
      throw_if_interrupted();
      const auto [place, is_new] = places.try_emplace(read(), groups.size());
      if (is_new) {
        bytes += place->first.size();
        groups.push_back({make_filter(parse(place->first, bytes), forbid_, plan_), {}});
      }
      groups[place->second].queries.push_back(taken);
    }
    return groups;
  }

 protected:
  /// The next filter as it is written.
  virtual std::string read() = 0;
  /// What it means. Adds the bytes that it takes.
  virtual IdSet parse(const std::string& text, std::uint64_t& bytes) const = 0;

  std::uint64_t memory() const noexcept { return memory_; }

 private:
  bool forbid_;
  FilterPlan plan_;
  std::uint64_t memory_;
};

/// The ids of a line: [1, 5, "10-19"], or an object that has such an array as "ids".
class IdFields final : public bench::JsonFields {
 public:
  IdFields(std::string place, std::string_view option, std::uint64_t memory)
      : place_(std::move(place)), option_(option), ranges_(memory) {}

  void line(const bench::JsonItem& value) override {
    if (value.kind == bench::JsonItem::Kind::object) return;
    begin(value);
  }
  void field(const std::string& key, const bench::JsonItem& value) override {
    in_ids_ = false;
    if (key != "ids") return;
    if (found_) refuse("\"ids\" twice");
    begin(value);
  }
  void element(const bench::JsonItem& value) override {
    if (!in_ids_) return;
    if (++visited_ % 65536 == 0) throw_if_interrupted();
    std::optional<IdRange> range;
    if (value.kind == bench::JsonItem::Kind::integer) range = {value.integer, value.integer};
    if (value.kind == bench::JsonItem::Kind::text) range = parse_id_range(value.text);
    if (!range || range->first > range->last) refuse(json_excerpt(value));
    if (range->first <= -1 && range->last >= -1) refuse("-1, which marks missing results");
    if (!ranges_.add(*range)) {
      misuse("{}: {}: names more than {} ids and ranges apart from each other; raise --max-memory", option_, place_,
             ranges_.most());
    }
  }

  [[noreturn]] void refuse(const std::string& found) const {
    corrupt(
        "{}: expected a JSON array of ids and ranges ([1, 5, \"10-19\"]), or an object with such an array as \"ids\"; "
        "found {}",
        place_, found);
  }

  std::vector<IdRange> take() {
    if (!found_) refuse("an object without ids");
    return ranges_.take();
  }

 private:
  void begin(const bench::JsonItem& value) {
    if (value.kind != bench::JsonItem::Kind::array) refuse(json_excerpt(value));
    found_ = in_ids_ = true;
  }

  std::string place_;
  std::string_view option_;
  IdRanges ranges_;
  std::uint64_t visited_ = 0;
  bool found_ = false, in_ids_ = false;
};

/// A line a query.
class JsonFilters final : public FilterSequence {
 public:
  JsonFilters(const FilterOptions& options, std::string_view option, std::uint64_t first, std::uint64_t memory)
      : FilterSequence(options, memory), path_(options.spec()), option_(option), file_(path_) {
    if (!file_) failed("{}: {}: cannot be opened", option_, path_);
    for (; first > 0; --first) read();
  }

 private:
  std::string read() override {
    std::string line;
    if (!read_bounded_line(file_, line, path_, ++number_, memory()))
      misuse("{}: {}: ends before line {}; a line is due for each query", option_, path_, number_);
    return line;
  }

  IdSet parse(const std::string& line, std::uint64_t& bytes) const override {
    IdFields fields(fmt::format("{}: line {}", path_, number_), option_, memory());
    if (const auto found = bench::visit_json(line, fields)) fields.refuse(*found);
    std::vector<IdRange> ranges = fields.take();
    bytes += ranges.capacity() * sizeof(IdRange);
    return IdSet(std::move(ranges));
  }

  std::string path_;
  std::string_view option_;
  std::ifstream file_;
  std::uint64_t number_ = 0;
};

/// A row of ids a query, padded with -1.
class MatrixFilters final : public FilterSequence {
 public:
  MatrixFilters(const FilterOptions& options, std::string_view option, std::unique_ptr<datasets::Reader> reader,
                std::uint64_t memory)
      : FilterSequence(options, memory), option_(option), reader_(std::move(reader)) {}

 private:
  std::string read() override {
    std::string row(reader_->dim() * sizeof(idx_t), '\0');
    if (reader_->read_ids(reinterpret_cast<idx_t*>(row.data()), 1) == 0)
      misuse("{}: {}: ends after {}; a row is due for each query", option_, reader_->name(), counted(read_, "row"));
    ++read_;
    return row;
  }

  IdSet parse(const std::string& row, std::uint64_t& bytes) const override {
    const auto* values = reinterpret_cast<const idx_t*>(row.data());
    std::vector<idx_t> ids;
    std::copy_if(values, values + row.size() / sizeof(idx_t), std::back_inserter(ids),
                 [](idx_t id) { return id != -1; });
    bytes += ids.size() * sizeof(IdRange);
    return IdSet(ids);
  }

  std::string_view option_;
  std::unique_ptr<datasets::Reader> reader_;
  std::uint64_t read_ = 0;
};

}  // namespace

std::unique_ptr<FilterSource> open_filters(const FilterOptions& options, std::uint64_t first, std::uint64_t memory) {
  if (!options.any()) {
    if (options.plan != FilterPlan::automatic) misuse("--filter-plan needs --filter or --filter-not");
    return nullptr;
  }
  if (options.allowed && options.forbidden)
    misuse("--filter and --filter-not contradict each other: name what is allowed, or what is not");
  const std::string spec = options.spec();
  const char* option = options.forbids() ? "--filter-not" : "--filter";
  if (ends_with(spec, ".jsonl")) return std::make_unique<JsonFilters>(options, option, first, memory);
  if (datasets::is_hdf5(spec)) {
    datasets::ReadOptions read;
    read.start = first;
    auto reader = datasets::open_reader(spec, read);
    if (reader->dim() > 1) return std::make_unique<MatrixFilters>(options, option, std::move(reader), memory);
  }
  const bool bits = spec.compare(0, bits_prefix.size(), bits_prefix) == 0;
  IdSet ids = bits ? read_bits(spec.substr(bits_prefix.size()), memory, option) : read_id_set(spec, memory, option);
  return std::make_unique<OneFilter>(make_filter(std::move(ids), options.forbids(), options.plan));
}

}  // namespace ivf::cli

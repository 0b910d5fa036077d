#include "filters.h"

#include <algorithm>
#include <fstream>
#include <istream>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "id_list.h"
#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

constexpr std::string_view bits_prefix = "bits:";
// A line of JSON longer than this is no list of ids that anybody wrote.
constexpr std::size_t longest_line = std::size_t{64} << 20;

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

 private:
  bool forbid_;
  FilterPlan plan_;
  std::uint64_t memory_;
};

/// A line a query: [1, 5, "10-19"], or an object that has such an array as "ids".
class JsonFilters final : public FilterSequence {
 public:
  JsonFilters(const FilterOptions& options, std::string_view option, std::uint64_t first, std::uint64_t memory)
      : FilterSequence(options, memory), path_(options.spec()), option_(option), file_(path_) {
    if (!file_) failed("{}: {}: cannot be opened", option_, path_);
    for (; first > 0; --first) read();
  }

 private:
  std::string read() override {
    ++number_;
    std::string line;
    auto* bytes = file_.rdbuf();
    for (int c = bytes->sbumpc(); c != '\n'; c = bytes->sbumpc()) {
      if (c == std::char_traits<char>::eof()) {
        if (!line.empty()) break;
        misuse("{}: {}: ends before line {}; a line is due for each query", option_, path_, number_);
      }
      if (line.size() == longest_line) corrupt("{}: line {}: is longer than 64 MiB", path_, number_);
      line += static_cast<char>(c);
      if (line.size() % 65536 == 0) throw_if_interrupted();
    }
    return line;
  }

  [[noreturn]] void refuse(const std::string& found) const {
    corrupt(
        "{}: line {}: expected a JSON array of ids and ranges ([1, 5, \"10-19\"]), or an object with such an array as "
        "\"ids\"; found {}",
        path_, number_, found);
  }

  IdSet parse(const std::string& line, std::uint64_t& bytes) const override {
    const auto value = nlohmann::json::parse(line, nullptr, false);
    if (value.is_discarded()) refuse("no JSON");
    const auto* ids = &value;
    if (value.is_object()) {
      if (!value.contains("ids")) refuse("an object without ids");
      ids = &value["ids"];
    }
    if (!ids->is_array()) refuse("no array");
    std::vector<IdRange> ranges;
    for (const auto& one : *ids) {
      if (one.is_number_integer() && (!one.is_number_unsigned() || one.get<std::uint64_t>() <= INT64_MAX)) {
        ranges.push_back({one.get<idx_t>(), one.get<idx_t>()});
      } else if (one.is_string()) {
        const auto range = parse_id_range(one.get_ref<const std::string&>());
        if (!range || range->first > range->last) refuse(one.dump());
        ranges.push_back(*range);
      } else {
        refuse(one.dump());
      }
      if (ranges.back().first <= -1 && ranges.back().last >= -1) refuse("-1, which marks missing results");
    }
    bytes += ranges.size() * sizeof(IdRange);
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

void FilterOptions::define(OptionSet& options) {
  // Given but empty is not the same as not given: an unset variable of a script must not allow everything.
  const auto text = [&options](const char* name, std::optional<std::string>& target, const char* help) {
    options.value(name, "IDS|FILE", help, [&target](std::string_view option, std::string_view value) {
      if (value.empty()) misuse("{}: names no ids; write 5, 5,9,12, 10-20 or a file", option);
      target = value;
    });
  };
  text("--filter", allowed,
       "Find rows with these ids only: ids and ranges (5,9,100-199), a file of them (text, .npy, .ivecs, .h5:name), or "
       "bits:FILE; a .jsonl, or a data set of HDF5 with several columns, has a filter for each query");
  text("--filter-not", forbidden, "Find rows with other ids only");
  options
      .choice<FilterPlan>("--filter-plan", plan, "PLAN",
                          "How: scan (the probed lists), direct (the allowed rows: exact), or auto (direct where no "
                          "more rows are allowed than a query would scan)",
                          {{"auto", FilterPlan::automatic}, {"scan", FilterPlan::scan}, {"direct", FilterPlan::direct}})
      .shows("auto");
}

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

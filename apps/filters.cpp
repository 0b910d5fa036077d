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
constexpr std::size_t longest_line = std::size_t{256} << 20;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// Bit i of byte i / 8 stands for id i, as in faiss's IDSelectorBitmap.
IdSet read_bits(const std::string& path, std::string_view option) {
  std::ifstream file(path, std::ios::binary);
  if (!file) failed("{}: {}: cannot be opened; name a file of bits, one an id", option, path);
  std::vector<IdRange> ranges;
  std::vector<char> piece(std::size_t{1} << 16);
  idx_t id = 0;
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())), file.gcount() > 0) {
    throw_if_interrupted();
    for (std::streamsize i = 0; i < file.gcount(); ++i) {
      for (int bit = 0; bit < 8; ++bit, ++id) {
        if ((static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]) >> bit & 1) == 0) continue;
        if (!ranges.empty() && ranges.back().last == id - 1) {
          ++ranges.back().last;
        } else {
          ranges.push_back({id, id});
        }
      }
    }
  }
  if (file.bad()) failed("{}: {}: cannot be read", option, path);
  return IdSet(std::move(ranges));
}

Filter make_filter(IdSet ids, bool forbid, FilterPlan plan) {
  return {std::make_shared<const IdSet>(std::move(ids)), forbid, plan};
}

class OneFilter final : public FilterSource {
 public:
  explicit OneFilter(Filter filter) : filter_(std::move(filter)) {}
  bool per_query() const noexcept override { return false; }
  std::vector<FilteredQueries> next(std::size_t) override { return {{filter_, {}}}; }

 private:
  Filter filter_;
};

/// Puts queries with the same ids together: they are searched at once.
class Grouping {
 public:
  Grouping(bool forbid, FilterPlan plan) : forbid_(forbid), plan_(plan) {}

  /// `key` is the same for the same ids.
  template <class Read>
  void add(std::string key, std::size_t query, Read read) {
    const auto [place, is_new] = places_.try_emplace(std::move(key), groups_.size());
    if (is_new) groups_.push_back({make_filter(read(), forbid_, plan_), {}});
    groups_[place->second].queries.push_back(query);
  }
  std::vector<FilteredQueries> take() { return std::move(groups_); }

 private:
  bool forbid_;
  FilterPlan plan_;
  std::unordered_map<std::string, std::size_t> places_;
  std::vector<FilteredQueries> groups_;
};

/// A line a query: [1, 5, "10-19"], or an object that has such an array as "ids".
class JsonFilters final : public FilterSource {
 public:
  JsonFilters(const FilterOptions& options, std::string_view option, std::uint64_t first)
      : path_(options.spec()), option_(option), forbid_(options.forbids()), plan_(options.plan), file_(path_) {
    if (!file_) failed("{}: {}: cannot be opened", option_, path_);
    for (; first > 0; --first) read_line();
  }

  bool per_query() const noexcept override { return true; }

  std::vector<FilteredQueries> next(std::size_t nq) override {
    Grouping grouping(forbid_, plan_);
    for (std::size_t i = 0; i < nq; ++i) {
      throw_if_interrupted();
      read_line();
      grouping.add(line_, i, [this] { return parse(); });
    }
    return grouping.take();
  }

 private:
  void read_line() {
    ++number_;
    if (!std::getline(file_, line_))
      misuse("{}: {}: ends before line {}; a line is due for each query", option_, path_, number_);
    if (line_.size() > longest_line) corrupt("{}: line {}: is longer than 256 MiB", path_, number_);
  }

  [[noreturn]] void refuse(const std::string& found) const {
    corrupt(
        "{}: line {}: expected a JSON array of ids and ranges ([1, 5, \"10-19\"]), or an object with such an array as "
        "\"ids\"; found {}",
        path_, number_, found);
  }

  IdSet parse() const {
    const auto value = nlohmann::json::parse(line_, nullptr, false);
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
        if (!range) refuse(one.dump());
        ranges.push_back(*range);
      } else {
        refuse(one.dump());
      }
      if (ranges.back().first <= -1 && ranges.back().last >= -1) refuse("-1, which marks missing results");
    }
    return IdSet(std::move(ranges));
  }

  std::string path_;
  std::string_view option_;
  bool forbid_;
  FilterPlan plan_;
  std::ifstream file_;
  std::string line_;
  std::uint64_t number_ = 0;
};

/// A row of ids a query, padded with -1.
class MatrixFilters final : public FilterSource {
 public:
  MatrixFilters(const FilterOptions& options, std::string_view option, std::unique_ptr<datasets::Reader> reader)
      : option_(option), forbid_(options.forbids()), plan_(options.plan), reader_(std::move(reader)) {}

  bool per_query() const noexcept override { return true; }

  std::vector<FilteredQueries> next(std::size_t nq) override {
    Grouping grouping(forbid_, plan_);
    const std::size_t dim = reader_->dim();
    std::vector<idx_t> row(dim);
    for (std::size_t i = 0; i < nq; ++i) {
      throw_if_interrupted();
      if (reader_->read_ids(row.data(), 1) == 0)
        misuse("{}: {}: ends after {}; a row is due for each query", option_, reader_->name(), counted(read_, "row"));
      ++read_;
      const std::string key(reinterpret_cast<const char*>(row.data()), dim * sizeof(idx_t));
      grouping.add(key, i, [&] {
        std::vector<idx_t> ids;
        std::copy_if(row.begin(), row.end(), std::back_inserter(ids), [](idx_t id) { return id != -1; });
        return IdSet(ids);
      });
    }
    return grouping.take();
  }

 private:
  std::string_view option_;
  bool forbid_;
  FilterPlan plan_;
  std::unique_ptr<datasets::Reader> reader_;
  std::uint64_t read_ = 0;
};

}  // namespace

void FilterOptions::define(OptionSet& options) {
  options.text(
      "--filter", allowed, "IDS|FILE",
      "Find rows with these ids only: ids and ranges (5,9,100-199), a file of them (text, .npy, .ivecs, .h5:name), or "
      "bits:FILE; a .jsonl, or a data set of HDF5 with several columns, has a filter for each query");
  options.text("--filter-not", forbidden, "IDS|FILE", "Find rows with other ids only");
  options
      .choice<FilterPlan>("--filter-plan", plan, "PLAN",
                          "How: scan (the probed lists), direct (the allowed rows: exact), or auto (direct where no "
                          "more rows are allowed than a query would scan)",
                          {{"auto", FilterPlan::automatic}, {"scan", FilterPlan::scan}, {"direct", FilterPlan::direct}})
      .shows("auto");
}

std::unique_ptr<FilterSource> open_filters(const FilterOptions& options, std::uint64_t first) {
  if (!options.any()) {
    if (options.plan != FilterPlan::automatic) misuse("--filter-plan needs --filter or --filter-not");
    return nullptr;
  }
  if (!options.allowed.empty() && !options.forbidden.empty())
    misuse("--filter and --filter-not contradict each other: name what is allowed, or what is not");
  const std::string& spec = options.spec();
  const char* option = options.forbids() ? "--filter-not" : "--filter";
  if (ends_with(spec, ".jsonl")) return std::make_unique<JsonFilters>(options, option, first);
  if (spec.compare(0, bits_prefix.size(), bits_prefix) == 0) {
    return std::make_unique<OneFilter>(
        make_filter(read_bits(spec.substr(bits_prefix.size()), option), options.forbids(), options.plan));
  }
  if (datasets::is_hdf5(spec)) {
    datasets::ReadOptions read;
    read.start = first;
    auto reader = datasets::open_reader(spec, read);
    if (reader->dim() > 1) return std::make_unique<MatrixFilters>(options, option, std::move(reader));
  }
  return std::make_unique<OneFilter>(make_filter(read_id_set(spec, option), options.forbids(), options.plan));
}

}  // namespace ivf::cli

#include "bench/record_file.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>

#include <fmt/format.h>

#include "bench/json_lines.h"
#include "bench/record.h"
#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

// Without these a measurement cannot be told from another one.
constexpr const char* required[] = {"library", "metric", "dim", "nb", "nq", "nlist", "nprobe", "topk", "search_ms"};

// The largest records list ten thousand runs several times over. As a tree a line takes many times its length.
constexpr std::size_t longest_record = std::size_t{4} << 20;

[[noreturn]] void refuse(const StoredRecord& record, const std::string& why) {
  throw Error(ErrorKind::misuse, fmt::format("{}: {}", record.place(), why));
}

void check(const StoredRecord& record) {
  if (!record.value.is_object())
    refuse(record, fmt::format("expected a JSON object, found {}", record.value.type_name()));
  if (const auto version = record.value.find("record_version"); version != record.value.end()) {
    if (!version->is_number_integer() || *version > record_version) {
      refuse(record, fmt::format("record_version is {}, this program reads up to {}; use a newer ivf",
                                 json_excerpt(*version), record_version));
    }
  }
  for (const char* key : required) {
    if (!record.value.contains(key))
      refuse(record, fmt::format("key '{}' is missing; is this a benchmark record?", key));
  }
  for (const char* key : {"library", "metric"}) {
    if (!record.value[key].is_string()) refuse(record, fmt::format("'{}' is no text", key));
  }
  for (const char* key : {"dim", "nb", "nq", "nlist", "nprobe", "topk"}) {
    if (!record.value[key].is_number_integer()) refuse(record, fmt::format("'{}' is no whole number", key));
  }
  record.positive("search_ms");
  for (const char* key : {"search_ms", "train_ms", "add_ms", "probe_ms", "cpu_ms"}) record.runs(key);
}

}  // namespace

std::string StoredRecord::place() const { return fmt::format("{}:{}", file, line); }

double StoredRecord::positive(const char* key) const {
  const auto found = value.find(key);
  if (found == value.end()) refuse(*this, fmt::format("key '{}' is missing", key));
  if (!found->is_number()) refuse(*this, fmt::format("'{}' is no number", key));
  const double number = found->get<double>();
  if (!std::isfinite(number) || number <= 0)
    refuse(*this, fmt::format("'{}' is {}, expected more than 0", key, json_excerpt(*found)));
  return number;
}

std::vector<double> StoredRecord::runs(const char* key) const {
  const std::string list_key = std::string(key) + "_runs";
  const auto list = value.find(list_key);
  if (list == value.end() || list->is_null() || list->empty()) {
    const auto single = value.find(key);
    if (single == value.end() || single->is_null()) return {};
    return {positive(key)};
  }
  if (!list->is_array()) refuse(*this, fmt::format("'{}' is no list", list_key));
  std::vector<double> result;
  for (const auto& item : *list) {
    if (!item.is_number() || !std::isfinite(item.get<double>()) || item.get<double>() <= 0) {
      refuse(*this, fmt::format("'{}' holds {}, expected numbers above 0", list_key, json_excerpt(item)));
    }
    result.push_back(item.get<double>());
  }
  return result;
}

std::vector<StoredRecord> read_records(const std::string& path) {
  const bool pipe = path == "-";
  std::ifstream file;
  if (!pipe) {
    file.open(path);
    if (!file) throw Error(ErrorKind::failed, fmt::format("cannot open '{}': {}", path, std::strerror(errno)));
  }
  std::istream& in = pipe ? std::cin : file;
  const std::string name = pipe ? "standard input" : path;
  std::vector<StoredRecord> records;
  std::string text;
  for (std::size_t line = 1;; ++line) {
    StoredRecord record{{}, name, line};
    const LineRead read = read_line(in, text, longest_record);
    if (read == LineRead::end) break;
    if (read == LineRead::too_long) refuse(record, "expected a record of at most 4 MiB, found a longer line");
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (const auto found = parse_json(text, record.value))
      refuse(record, fmt::format("expected a record, found {}", *found));
    check(record);
    records.push_back(std::move(record));
  }
  if (in.bad()) throw Error(ErrorKind::failed, fmt::format("cannot read '{}': {}", path, std::strerror(errno)));
  if (records.empty()) throw Error(ErrorKind::misuse, fmt::format("{}: holds no records", name));
  return records;
}

}  // namespace ivf::bench

// Results as text: a table for people, tab-separated lines and JSON lines for programs.

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/compile.h>

#include "ivf/format/output_file.hpp"
#include "message.h"
#include "result_sinks.h"
#include "stdout.h"

namespace ivf::cli {
namespace {

constexpr idx_t missing = -1;

/// Text goes to standard output or to a file, which are finished in different ways.
class TextOutput {
 public:
  virtual ~TextOutput() = default;
  virtual void write(std::string_view text) = 0;
  virtual void finish() = 0;
};

class PipeText final : public TextOutput {
 public:
  void write(std::string_view text) override { out_.write(text); }
  void finish() override { out_.flush(); }

 private:
  Stdout out_;
};

class FileText final : public TextOutput {
 public:
  explicit FileText(const std::string& path) : file_(path) {}
  void write(std::string_view text) override { file_.write(text.data(), text.size()); }
  void finish() override { file_.commit(); }

 private:
  format::OutputFile file_;
};

void append_tsv(std::string& out, std::uint64_t query, std::span<const float> distances, std::span<const idx_t> ids) {
  for (std::size_t i = 0; i < ids.size() && ids[i] != missing; ++i) {
    fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}\t{}\t{}\t"), query, i + 1, ids[i]);
    append_float(out, distances[i]);
    out += '\n';
  }
}

void append_jsonl(std::string& out, std::uint64_t query, std::span<const float> distances, std::span<const idx_t> ids) {
  const auto found = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), missing) - ids.begin());
  fmt::format_to(std::back_inserter(out), "{{\"query\":{},\"ids\":[{}],\"distances\":[", query,
                 fmt::join(ids.first(found), ","));
  for (std::size_t i = 0; i < found; ++i) {
    if (i) out += ',';
    append_json_float(out, distances[i]);
  }
  out += "]}\n";
}

void append_table(std::string& out, std::uint64_t query, std::span<const float> distances, std::span<const idx_t> ids) {
  if (query == 0) out += fmt::format("{:>8}  {:>5}  {:>12}  {:>14}\n", "query", "rank", "id", "distance");
  for (std::size_t i = 0; i < ids.size() && ids[i] != missing; ++i) {
    out += fmt::format("{:>8}  {:>5}  {:>12}  {:>14.7g}\n", query, i + 1, ids[i], distances[i]);
  }
}

class TextSink final : public ResultSink {
 public:
  explicit TextSink(const Destination& destination) : format_(destination.text) {
    if (destination.pipe()) {
      out_ = std::make_unique<PipeText>();
    } else {
      out_ = std::make_unique<FileText>(destination.path);
    }
  }

  void write(const ResultRows& rows) override {
    for (std::size_t i = 0; i < rows.nq; ++i) {
      const std::size_t begin = rows.begin(i), count = rows.end(i) - begin;
      text_.clear();
      render_(text_, rows.first_query + i, rows.distances.subspan(begin, count), rows.ids.subspan(begin, count));
      out_->write(text_);
    }
  }
  void finish() override { out_->finish(); }

 private:
  using Render = void (*)(std::string&, std::uint64_t, std::span<const float>, std::span<const idx_t>);
  static Render renderer(TextFormat format) {
    if (format == TextFormat::jsonl) return append_jsonl;
    return format == TextFormat::tsv ? append_tsv : append_table;
  }

  TextFormat format_;
  Render render_ = renderer(format_);
  std::unique_ptr<TextOutput> out_;
  std::string text_;
};

}  // namespace

std::unique_ptr<ResultSink> make_text_sink(const Destination& destination) {
  return std::make_unique<TextSink>(destination);
}

void append_float(std::string& out, float value) { fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}"), value); }

void append_json_float(std::string& out, float value) {
  if (std::isfinite(value)) {
    append_float(out, value);
  } else {
    out += "null";
  }
}

}  // namespace ivf::cli

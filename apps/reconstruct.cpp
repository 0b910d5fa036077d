// ivf reconstruct: the stored vectors of some ids.

#include <iterator>

#include <fmt/compile.h>

#include "command.h"
#include "destination.h"
#include "id_list.h"
#include "ivf/interchange.hpp"
#include "message.h"
#include "results.h"
#include "signals.h"
#include "stdout.h"
#include "summary.h"

namespace ivf::cli {
namespace {

using datasets::Element;

/// An id in the list, its place in the table of StoredIndex::reconstruct(), and where its row is.
constexpr std::uint64_t bytes_an_id = sizeof(idx_t) + 80;

/// Takes rows in the order of their ids.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void write(std::span<const idx_t> ids, MatrixView rows) = 0;
  virtual void finish() = 0;
};

class RowMatrixSink final : public RowSink {
 public:
  RowMatrixSink(const Destination& out, std::size_t dim, std::optional<std::uint64_t> rows) {
    datasets::WriteOptions options;
    options.dim = dim;
    options.element = destination_element(out, Element::f32);
    options.rows = rows;
    writer_ = datasets::open_writer(out.spec, options);
  }
  void write(std::span<const idx_t>, MatrixView rows) override { writer_->write(rows.data, rows.rows); }
  void finish() override { writer_->finish(); }

 private:
  std::unique_ptr<datasets::Writer> writer_;
};

/// Lines on standard output: an id and its values, with the shortest digits that read back as the same float32.
class LineSink final : public RowSink {
 public:
  explicit LineSink(bool json) : json_(json) {}

  void write(std::span<const idx_t> ids, MatrixView rows) override {
    for (std::size_t i = 0; i < rows.rows; ++i) {
      text_.clear();
      fmt::format_to(std::back_inserter(text_), FMT_COMPILE("{}{}"), json_ ? "{\"id\":" : "", ids[i]);
      if (json_) text_ += ",\"vector\":[";
      for (std::size_t j = 0; j < rows.dim; ++j) {
        if (!json_ || j > 0) text_ += json_ ? ',' : '\t';
        append_float(text_, rows.row(i)[j]);
      }
      text_ += json_ ? "]}\n" : "\n";
      out_.write(text_);
    }
  }
  void finish() override { out_.flush(); }

 private:
  bool json_;
  Stdout out_;
  std::string text_;
};

class Reconstruct final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Get stored vectors back by their ids, bit for bit, in the order of the ids; those of a cosine index are "
        "normalised. Of rows that share an id, the one that was stored first is meant.",
        R"(Examples:
  ivf reconstruct base.ivf --ids 5,9,12
  ivf reconstruct base.ivf --ids 0-9999 -o first.fvecs
  ivf reconstruct base.ivf --ids ids.npy -o rows.npy --missing skip

Without -o: lines of an id and its values, separated by tabs (JSON with --json).
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Input options");
    options
        .text("--ids", ids_, "IDS|FILE",
              "Ids and ranges (5,9,100-199), or a file of them: text, .npy, .ivecs, .h5:name")
        .required();
    options
        .choice<MissingIds>("--missing", missing_, "HOW", "What to do with ids that are not there: error or skip",
                            {{"error", MissingIds::refuse}, {"skip", MissingIds::skip}})
        .shows("error");
    options.group("Output options");
    options.text("-o,--out", out_, "FILE", "Where the vectors go: .fvecs .fbin .npy .h5");
    options.force(force_);
  }

  int run(Context& context) override {
    const Stopwatch watch;
    const Destination out = parse_destination(out_);
    if (out.text != TextFormat::none) misuse("{}: vectors are not written as text; leave out -o for lines", out_);
    if (!out_.empty()) check_destination(out, force_);
    const StoredIndex index(index_, context.options.run(context.console.callback()));
    const std::vector<idx_t> ids = read_id_list(ids_, context.options.memory() / bytes_an_id);
    const auto sink = open_sink(context, out, index.dim(), ids.size());
    const std::uint64_t missing = index.reconstruct(
        ids, [&](std::span<const idx_t> found, MatrixView rows) { sink->write(found, rows); }, missing_);
    throw_if_interrupted();
    sink->finish();
    forget_signals();
    context.console.clear();
    const std::uint64_t rows = ids.size() - missing;
    if (missing > 0) {
      context.console.warn(
          fmt::format("{}: left out {} of {} that it does not hold", index_, missing, counted(ids.size(), "id")));
    }
    if (out_.empty()) return exit_done;
    if (context.options.json && !out.pipe()) {
      print_json({{"index", index_},
                  {"out", out_},
                  {"rows", rows},
                  {"missing", missing},
                  {"dim", index.dim()},
                  {"reconstruct_ms", watch.milliseconds()}});
    }
    context.console.note(fmt::format("{}: {} of {} float32 values", out.pipe() ? "standard output" : out_,
                                     counted(rows, "row"), index.dim()));
    return exit_done;
  }

 private:
  std::unique_ptr<RowSink> open_sink(const Context& context, const Destination& out, std::size_t dim,
                                     std::uint64_t ids) const {
    if (out_.empty()) return std::make_unique<LineSink>(context.options.json);
    // The number of rows is known before only when none may be missing.
    return std::make_unique<RowMatrixSink>(
        out, dim, missing_ == MissingIds::refuse ? std::optional<std::uint64_t>(ids) : std::nullopt);
  }

  std::string index_, ids_, out_;
  MissingIds missing_ = MissingIds::refuse;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_reconstruct() { return std::make_unique<Reconstruct>(); }

}  // namespace ivf::cli

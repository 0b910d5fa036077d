// ivf convert: reads vectors in one format and writes them in another.

#include <algorithm>

#include "command.h"
#include "destination.h"
#include "ivf/index.hpp"
#include "message.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

using datasets::Element;

constexpr std::size_t copied_at_a_time = std::size_t{4} << 20;

class Convert final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Convert vectors (or ids) between file formats, in bounded memory. Values are kept exactly: one that the new "
        "type cannot hold is refused with its row and column.",
        R"(Examples:
  ivf convert sift.hdf5:train base.fvecs
  ivf convert base.fvecs first.npy --count 10k
  ivf convert mnist.hdf5 mnist.u8bin
  ivf convert base.fvecs - --normalize | zstd > base.fvecs.zst
  ivf convert gaussian:n=100000,d=128,seed=7 random.fvecs
)");
    options.argument("IN", in_, "What to read");
    options.argument("OUT", out_, "What to write");
    options.group("Conversion options");
    options.row_range(range_);
    options.flag("--normalize", normalize_, "Scale each row to length 1, as cosine indexes do");
    options
        .choice<Element>("--type", type_, "TYPE", "Element type of .npy and .h5: f32 f64 f16 u8 i8 i32 i64",
                         {{"f32", Element::f32},
                          {"f64", Element::f64},
                          {"f16", Element::f16},
                          {"u8", Element::u8},
                          {"i8", Element::i8},
                          {"i32", Element::i32},
                          {"i64", Element::i64}})
        .shows("that of IN");
    options.force(force_);
  }

  int run(Context& context) override {
    const Destination out = parse_destination(out_);
    if (out.text != TextFormat::none) misuse("{}: vectors are not written as text; use .npy, .fvecs, .h5, ...", out_);
    check_destination(out, force_);
    datasets::ReadOptions read;
    read.start = range_.start;
    read.count = range_.count;
    const auto reader = datasets::open_reader(in_, read);
    const Element element = element_for(out, reader->element());
    const auto writer = datasets::open_writer(out_, write_options(*reader, element));
    // Integers that float32 cannot hold pass unharmed when both sides are integers.
    const bool integers = is_integer(reader->element()) && is_integer(element) && !normalize_;
    const std::uint64_t rows = integers ? copy_ids(context, *reader, *writer) : copy_rows(context, *reader, *writer);
    throw_if_interrupted();
    writer->finish();
    forget_signals();
    if (context.options.json && !out.pipe()) {
      print_json({{"in", in_},
                  {"out", out_},
                  {"rows", rows},
                  {"dim", reader->dim()},
                  {"type", datasets::element_name(element)}});
    }
    context.console.note(fmt::format("{}: {} of {} {} values", out.pipe() ? "standard output" : out_,
                                     counted(rows, "row"), reader->dim(), datasets::element_name(element)));
    return exit_done;
  }

 private:
  static bool is_integer(Element element) {
    return element == Element::u8 || element == Element::i8 || element == Element::i32 || element == Element::i64;
  }

  Element element_for(const Destination& out, Element stored) const {
    if (type_) return *type_;
    // Everything is computed in float32: normalised rows are no longer of their type, and float64 is rounded when read.
    const bool as_float = normalize_ || stored == Element::f64;
    return destination_element(out, as_float ? Element::f32 : stored);
  }

  datasets::WriteOptions write_options(const datasets::Reader& reader, Element element) const {
    datasets::WriteOptions options;
    options.dim = reader.dim();
    options.element = element;
    options.rows = reader.rows();
    return options;
  }

  template <class Value, class Read, class Write>
  static std::uint64_t copy(Context& context, datasets::Reader& reader, Read read, Write write) {
    const std::size_t batch_rows = rows_that_fit(copied_at_a_time, reader.dim() * sizeof(Value), 65536);
    std::vector<Value> batch(batch_rows * reader.dim());
    std::uint64_t rows = 0;
    while (const std::size_t count = read(batch.data(), batch_rows)) {
      throw_if_interrupted();
      write(batch.data(), count);
      rows += count;
      context.console.progress("converting", rows, reader.rows().value_or(0));
    }
    return rows;
  }

  std::uint64_t copy_rows(Context& context, datasets::Reader& reader, datasets::Writer& writer) const {
    return copy<float>(
        context, reader, [&](float* out, std::size_t most) { return reader.read(out, most); },
        [&](float* rows, std::size_t count) {
          if (normalize_) normalize_rows(rows, count, reader.dim());
          writer.write(rows, count);
        });
  }

  static std::uint64_t copy_ids(Context& context, datasets::Reader& reader, datasets::Writer& writer) {
    return copy<idx_t>(
        context, reader, [&](idx_t* out, std::size_t most) { return reader.read_ids(out, most); },
        [&](const idx_t* rows, std::size_t count) { writer.write_ids(rows, count); });
  }

  std::string in_, out_;
  RowRange range_;
  std::optional<Element> type_;
  bool normalize_ = false, force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_convert() { return std::make_unique<Convert>(); }

}  // namespace ivf::cli

// ivf add: appends vectors to an index file, in bounded memory and one commit.

#include <algorithm>

#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "ivf/index.hpp"
#include "message.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

constexpr std::size_t batch_bytes = std::size_t{8} << 20;

/// Ids for rows, from a file that holds one a row.
class IdSource {
 public:
  explicit IdSource(const std::string& spec) : reader_(datasets::open_reader(spec)) {
    if (reader_->dim() != 1) misuse("{}: has {} columns, a file of ids has one", reader_->name(), reader_->dim());
  }

  void require(std::optional<std::uint64_t> rows, const std::string& data) const {
    if (rows && reader_->rows() && *rows != *reader_->rows()) {
      misuse("{}: has {}, {} has {}", reader_->name(), counted(*reader_->rows(), "id"), data, counted(*rows, "row"));
    }
  }
  std::span<const idx_t> next(std::size_t count, const std::string& data) {
    ids_.resize(count);
    for (std::size_t got = 0; got < count;) {
      const std::size_t n = reader_->read_ids(ids_.data() + got, count - got);
      if (n == 0) misuse("{}: ends after {}, {} has more rows", reader_->name(), counted(read_ + got, "id"), data);
      got += n;
    }
    const auto missing = std::find(ids_.begin(), ids_.end(), -1);
    if (missing != ids_.end()) {
      misuse("{}: row {} is -1, which marks missing results and is no id", reader_->name(),
             read_ + static_cast<std::uint64_t>(missing - ids_.begin()));
    }
    read_ += count;
    return ids_;
  }
  void require_end(const std::string& data) {
    idx_t id = 0;
    if (reader_->read_ids(&id, 1) != 0) {
      misuse("{}: has more ids than {} has rows ({})", reader_->name(), data, read_);
    }
  }

 private:
  std::unique_ptr<datasets::Reader> reader_;
  std::vector<idx_t> ids_;
  std::uint64_t read_ = 0;
};

class Add final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Add vectors to an index. They are read in batches, whatever their number, and become visible all at once at "
        "the end: an add that fails or is killed at any moment leaves the index as it was.",
        R"(Examples:
  ivf add sift.ivf sift.hdf5
  ivf add base.ivf part2.fvecs --ids part2-ids.npy
  ivf add base.ivf base.fvecs --start 1M --count 500k
  zstdcat base.fvecs.zst | ivf add base.ivf -
)");
    options.argument("INDEX", index_, "Index file made by `ivf train`");
    options.argument("DATA", data_, "Vectors to add");
    options.group("Input options");
    options.text("--ids", ids_, "FILE", "Ids of the rows: integers, one a row")
        .shows("count on from the number of rows");
    options.row_range(range_);
    device_.define(options);
  }

  int run(Context& context) override {
    const Stopwatch watch;
    if (parse_destination(data_).pipe() && parse_destination(ids_).pipe())
      misuse("rows and ids cannot both come from one pipe");
    RowSource source(data_, datasets::Role::base, range_, RowSource::Use::store);
    std::optional<IdSource> ids;
    if (!ids_.empty()) {
      ids.emplace(ids_);
      ids->require(source.known_rows(), source.name());
    }
    FileAppender appender(index_, context.options.run(context.console.callback()), device_.placement());
    source.require_dim(appender.dim(), index_);
    const std::uint64_t before = appender.size();
    // The appender collects rows until they fill the memory; what is read at a time need only be worth the call.
    const std::size_t step = rows_that_fit(batch_bytes, source.dim() * sizeof(float), appender.batch_rows());
    std::vector<float> batch;
    while (source.next(batch, step)) {
      if (ids) {
        appender.append(source.view(batch), ids->next(source.batch_rows(), source.name()));
      } else {
        appender.append(source.view(batch));
      }
      context.console.progress("reading", source.rows_read(), source.expected());
    }
    if (ids) ids->require_end(source.name());
    if (source.rows_read() > 0) appender.commit();
    forget_signals();
    const double milliseconds = watch.milliseconds();

    if (context.options.json) {
      print_json({{"index", index_},
                  {"added", source.rows_read()},
                  {"nb", before + source.rows_read()},
                  {"add_ms", milliseconds}});
    }
    context.console.note(fmt::format("{}: added {} in {}, {} in all", index_, counted(source.rows_read(), "row"),
                                     human_time(milliseconds), grouped(before + source.rows_read())));
    return exit_done;
  }

 private:
  std::string index_, data_, ids_;
  RowRange range_;
  DeviceOptions device_;
};

}  // namespace

std::unique_ptr<Command> make_add() { return std::make_unique<Add>(); }

}  // namespace ivf::cli

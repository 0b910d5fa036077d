// ivf add: appends vectors to an index file, in bounded memory and one commit.

#include <algorithm>

#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "id_list.h"
#include "ivf/index.hpp"
#include "ivf/maintenance.hpp"
#include "message.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

constexpr std::size_t batch_bytes = std::size_t{8} << 20;

/// Ids for rows: those of a file that holds one a row, or of a list.
class IdSource {
 public:
  /// A list is read at once, and may take `list_bytes`.
  IdSource(const std::string& spec, std::uint64_t list_bytes) : name_(spec) {
    if (!names_id_matrix(spec)) {
      list_ = read_id_list(spec, list_bytes / sizeof(idx_t));
      return;
    }
    reader_ = datasets::open_reader(spec);
    name_ = reader_->name();
    if (reader_->dim() != 1) misuse("{}: has {} columns, a file of ids has one", name_, reader_->dim());
  }

  void require(std::optional<std::uint64_t> rows, const std::string& data) const {
    const std::optional<std::uint64_t> ids = reader_ != nullptr ? reader_->rows() : list_.size();
    if (rows && ids && *rows != *ids)
      misuse("{}: has {}, {} has {}", name_, counted(*ids, "id"), data, counted(*rows, "row"));
  }
  std::span<const idx_t> next(std::size_t count, const std::string& data) {
    ids_.resize(count);
    for (std::size_t got = 0; got < count;) {
      const std::size_t n = read(ids_.data() + got, count - got);
      if (n == 0) misuse("{}: ends after {}, {} has more rows", name_, counted(read_, "id"), data);
      got += n;
    }
    const auto missing = std::find(ids_.begin(), ids_.end(), -1);
    if (missing != ids_.end()) {
      misuse("{}: row {} is -1, which marks missing results and is no id", name_,
             read_ - count + static_cast<std::uint64_t>(missing - ids_.begin()));
    }
    return ids_;
  }
  void require_end(const std::string& data) {
    const std::uint64_t rows = read_;
    idx_t id = 0;
    if (read(&id, 1) != 0) misuse("{}: has more ids than {} has rows ({})", name_, data, rows);
  }

 private:
  std::size_t read(idx_t* ids, std::size_t most) {
    const std::size_t n =
        reader_ != nullptr ? reader_->read_ids(ids, most) : std::min<std::size_t>(most, list_.size() - read_);
    if (reader_ == nullptr) std::copy_n(list_.begin() + static_cast<std::ptrdiff_t>(read_), n, ids);
    read_ += n;
    return n;
  }

  std::string name_;
  std::unique_ptr<datasets::Reader> reader_;  ///< Null: a list.
  std::vector<idx_t> list_, ids_;
  std::uint64_t read_ = 0;
};

class Add final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Add vectors to an index. They are read in batches, whatever their number, and become visible all at once at "
        "the end: an add that fails or is killed at any moment leaves the index as it was, or, with --commit-every, as "
        "its last commit left it.",
        R"(Examples:
  ivf add sift.ivf sift.hdf5
  ivf add base.ivf part2.fvecs --ids part2-ids.npy
  ivf add base.ivf base.fvecs --start 1M --count 500k
  ivf add base.ivf changed.npy --ids changed-ids.npy --replace
  zstdcat base.fvecs.zst | ivf add base.ivf -
  tail -c +1 -f stream.fvecs | ivf add base.ivf - --commit-every 1k
)");
    options.argument("INDEX", index_, "Index file made by `ivf train`");
    options.argument("DATA", data_, "Vectors to add");
    options.group("Input options");
    options
        .text("--ids", ids_, "IDS|FILE",
              "Ids of the rows, one a row: a file (text, .npy, .ibin, .h5:name), or 5,9,100-199")
        .shows("count on from the rows added so far");
    options.row_range(range_);
    options.group("Commit options");
    options.flag("--replace", replace_,
                 "Remove the rows that have these ids, in the same commit: an update. An id may come once a commit");
    options.count("--commit-every", commit_every_, "N",
                  "Make rows visible after each N of them, for a stream that does not end", 1);
    options.number("--auto-compact", auto_compact_, "SHARE",
                   "Afterwards write the index anew, as `ivf compact` does, when more than this share of its rows is "
                   "removed or lies in many small segments; 0.2 is usual",
                   0, 1);
    device_.define(options);
  }

  int run(Context& context) override {
    const Stopwatch watch;
    if (parse_destination(data_).pipe() && (parse_destination(ids_).pipe() || is_standard_input(ids_)))
      misuse("rows and ids cannot both come from one pipe");
    RowSource source(data_, datasets::Role::base, range_, RowSource::Use::store);
    std::optional<IdSource> ids;
    if (!ids_.empty()) {
      ids.emplace(ids_, context.options.memory() / 4);
      ids->require(source.known_rows(), source.name());
    }
    std::optional<FileAppender> lock;
    FileAppender& appender = lock.emplace(index_, context.options.run(context.console.callback()), device_.placement());
    source.require_dim(appender.dim(), index_);
    if (replace_) appender.replace_ids();
    const std::uint64_t before = appender.size();
    // The appender collects rows until they fill the memory; what is read at a time need only be worth the call.
    const std::size_t step = rows_that_fit(batch_bytes, source.dim() * sizeof(float), appender.batch_rows());
    std::vector<float> batch;
    std::uint64_t committed = 0;
    const auto rows_before_commit = [&] { return committed + commit_every_.value_or(INT64_MAX) - source.rows_read(); };
    while (source.next(batch, static_cast<std::size_t>(std::min<std::uint64_t>(step, rows_before_commit())))) {
      if (ids) {
        appender.append(source.view(batch), ids->next(source.batch_rows(), source.name()));
      } else {
        appender.append(source.view(batch));
      }
      context.console.progress("reading", source.rows_read(), source.expected());
      if (rows_before_commit() > 0) continue;
      appender.commit();
      committed = source.rows_read();
      context.console.interruption_leaves(fmt::format(
          "the first {} are in the index: go on with --start {}{}", counted(committed, "row"), range_.start + committed,
          ids ? fmt::format(" and without the first {}", counted(committed, "id")) : ""));
    }
    if (ids) ids->require_end(source.name());
    if (source.rows_read() > committed) appender.commit();
    forget_signals();
    const std::uint64_t rows = appender.size(), replaced = before + source.rows_read() - rows;
    lock.reset();  // Compacting takes it for itself.
    const bool compacted = auto_compact_ && compact(context);
    const double milliseconds = watch.milliseconds();

    if (context.options.json) {
      print_json({{"index", index_},
                  {"added", source.rows_read()},
                  {"replaced", replaced},
                  {"nb", rows},
                  {"compacted", compacted},
                  {"add_ms", milliseconds}});
    }
    context.console.note(fmt::format("{}: added {}{} in {}, {} in all", index_, counted(source.rows_read(), "row"),
                                     replaced > 0 ? fmt::format(", replacing {},", grouped(replaced)) : "",
                                     human_time(milliseconds), grouped(rows)));
    if (compacted) context.console.note(fmt::format("{}: compacted", index_));
    return exit_done;
  }

 private:
  /// Returns whether it was worth it and was done. The rows are in the index whatever happens here.
  bool compact(Context& context) const {
    context.console.interruption_leaves("all rows were added, and the index was not compacted");
    try {
      CompactPolicy policy;
      policy.share = *auto_compact_;
      if (!compaction_due(index_, policy)) return false;
      CompactOptions options;
      static_cast<RunOptions&>(options) = context.options.run(context.console.callback());
      compact_index(index_, index_, options);
    } catch (const Interrupted&) {
      throw;
    } catch (const std::exception& error) {
      // The command has done what matters: one that is run again would add the rows twice.
      context.console.warn(fmt::format("the rows were added, but the index was not compacted: {}", error.what()));
      return false;
    }
    forget_signals();
    return true;
  }

  std::string index_, data_, ids_;
  RowRange range_;
  bool replace_ = false;
  std::optional<std::uint64_t> commit_every_;
  std::optional<double> auto_compact_;
  DeviceOptions device_;
};

}  // namespace

std::unique_ptr<Command> make_add() { return std::make_unique<Add>(); }

}  // namespace ivf::cli

// ivf export: an index for other programs, as a file of faiss, as .npy files or as HDF5.

#include <sys/stat.h>

#include "ann_benchmarks.h"
#include "command.h"
#include "destination.h"
#include "ivf/interchange.hpp"
#include "message.h"
#include "signals.h"
#include "staged.h"
#include "summary.h"

namespace ivf::cli {
namespace {

using datasets::Element;

/// Where the parts of an index go: matrices that take rows one after the other.
struct Parts {
  datasets::Writer* centroids = nullptr;  ///< Null for a flat index.
  datasets::Writer* offsets = nullptr;
  datasets::Writer* ids = nullptr;
  datasets::Writer* vectors = nullptr;
};

void write_parts(const StoredIndex& index, const Parts& parts) {
  if (parts.centroids != nullptr) {
    index.visit_centroids([&](MatrixView rows) { parts.centroids->write(rows.data, rows.rows); });
  }
  const std::vector<idx_t> offsets(index.offsets().begin(), index.offsets().end());
  parts.offsets->write_ids(offsets.data(), offsets.size());
  index.visit_rows([&](std::span<const idx_t> ids, MatrixView rows) {
    parts.ids->write_ids(ids.data(), ids.size());
    parts.vectors->write(rows.data, rows.rows);
  });
}

class Export final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Write an index for other programs: as a file that faiss reads, or its parts as matrices, in list order "
        "(the lists one after the other). Removed rows are left out.",
        R"(Examples:
  ivf export base.ivf --faiss base.faiss
  ivf export base.ivf --faiss - | ssh host 'cat > base.faiss'
  ivf export base.ivf --npy base          base-centroids.npy, base-offsets.npy,
                                          base-ids.npy and base-vectors.npy
  ivf export base.ivf --hdf5 parts.h5     the same, as data sets of one file

A cosine index becomes one of inner products over its normalised rows.
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Output options (one of them)");
    options.text("--faiss", faiss_, "FILE", "A file of faiss: IndexIVFFlat, IndexFlat, or IndexIDMap2 around one");
    options.text("--npy", npy_, "PREFIX",
                 "PREFIX-centroids.npy, -offsets.npy, -ids.npy and -vectors.npy; without 'PREFIX-' in a folder");
    options.text("--hdf5", hdf5_, "FILE", "One HDF5 file with the data sets centroids, offsets, ids and vectors");
    options.force(force_);
  }

  int run(Context& context) override {
    const int given = !faiss_.empty() + !npy_.empty() + !hdf5_.empty();
    if (given != 1) misuse("give one of --faiss FILE, --npy PREFIX and --hdf5 FILE: what should the index become?");
    const Stopwatch watch;
    const FaissReport report = !faiss_.empty() ? export_faiss(context) : export_parts(context);
    forget_signals();
    context.console.clear();
    const std::string& out = !faiss_.empty() ? faiss_ : !npy_.empty() ? npy_ : hdf5_;
    if (context.options.json && out != "-") {
      Json summary = {{"index", index_}, {"out", out}};
      if (!faiss_.empty()) summary["type"] = report.type;
      summary.update({{"metric", metric_name(report.metric)},
                      {"dim", report.dim},
                      {"nlist", report.nlist},
                      {"nb", report.rows},
                      {"export_ms", watch.milliseconds()}});
      print_json(summary);
    }
    context.console.note(fmt::format("{}: {}{} of {} dimensions in {}", out == "-" ? "standard output" : out,
                                     report.type.empty() ? "" : report.type + ", ", counted(report.rows, "row"),
                                     report.dim, human_time(watch.milliseconds())));
    return exit_done;
  }

 private:
  FaissReport export_faiss(Context& context) const {
    const Destination out{faiss_, faiss_};
    check_destination(out, force_);
    FaissReport report = ivf::export_faiss(index_, out.pipe() ? "/dev/stdout" : out.path,
                                           context.options.run(context.console.callback()));
    if (report.metric == Metric::cosine) {
      context.console.note(
          fmt::format("{}: compares by cosine, which faiss does as inner products of normalised rows", index_));
    }
    return report;
  }

  FaissReport export_parts(Context& context) const {
    const StoredIndex index(index_, context.options.run(context.console.callback()));
    npy_.empty() ? export_hdf5(index) : export_npy(index);
    return {"", index.metric(), index.dim(), index.nlist(), index.rows()};
  }

  void export_hdf5(const StoredIndex& index) const {
    if (parse_destination(hdf5_).pipe()) misuse("--hdf5: HDF5 cannot be written to a pipe; name a file");
    check_destination({hdf5_, hdf5_}, force_);
    const auto file = datasets::Hdf5File::create(hdf5_);
    file->attribute("distance", ann_benchmarks_name(index.metric()));
    Parts parts;
    if (!index.flat()) parts.centroids = &file->dataset("centroids", index.dim(), Element::f32);
    parts.offsets = &file->dataset("offsets", 1, Element::i64);
    parts.ids = &file->dataset("ids", 1, Element::i64);
    parts.vectors = &file->dataset("vectors", index.dim(), Element::f32);
    write_parts(index, parts);
    throw_if_interrupted();
    file->finish();
  }

  /// The name of a part: in the folder that was given, or beginning with the prefix.
  std::string npy_path(const char* part) const {
    struct stat info {};
    const bool folder = npy_.back() == '/' || (stat(npy_.c_str(), &info) == 0 && S_ISDIR(info.st_mode));
    return fmt::format("{}{}{}.npy", npy_, !folder ? "-" : npy_.back() == '/' ? "" : "/", part);
  }

  void export_npy(const StoredIndex& index) const {
    StagedFiles staged;
    std::vector<std::unique_ptr<datasets::Writer>> files;
    const auto open = [&](const char* part, std::size_t dim, Element element, std::uint64_t rows) {
      const std::string path = npy_path(part);
      check_destination({path, path}, force_);
      datasets::WriteOptions options;
      options.dim = dim;
      options.element = element;
      options.rows = rows;
      files.push_back(datasets::open_writer("npy:" + staged.stage(path), options));
      return files.back().get();
    };
    Parts parts;
    if (!index.flat()) parts.centroids = open("centroids", index.dim(), Element::f32, index.nlist());
    parts.offsets = open("offsets", 1, Element::i64, index.nlist() + 1);
    parts.ids = open("ids", 1, Element::i64, index.rows());
    parts.vectors = open("vectors", index.dim(), Element::f32, index.rows());
    write_parts(index, parts);
    throw_if_interrupted();
    for (const auto& file : files) file->finish();
    staged.publish();
  }

  std::string index_, faiss_, npy_, hdf5_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_export() { return std::make_unique<Export>(); }

}  // namespace ivf::cli

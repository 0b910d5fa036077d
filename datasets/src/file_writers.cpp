// Writers of the formats that are rows behind at most a small header.

#include <array>
#include <cstring>
#include <functional>
#include <limits>

#include "errors.h"
#include "formats.h"
#include "npy_header.h"
#include "output.h"
#include "stored_writer.h"

namespace ivf::datasets {

namespace {

/// .fvecs, .bvecs, .ivecs: the dimension before every row.
class VecsWriter final : public StoredWriter {
 public:
  VecsWriter(std::unique_ptr<Output> output, std::size_t dim, Element element)
      : StoredWriter(output->name(), dim, element, sizeof(std::int32_t)), output_(std::move(output)) {}

  void finish() override { output_->finish(); }

 private:
  void put(std::byte* rows, std::size_t count) override {
    const auto header = static_cast<std::int32_t>(dim());
    for (std::size_t i = 0; i < count; ++i) std::memcpy(rows + i * row_bytes(), &header, sizeof(header));
    output_->write(rows, count * row_bytes());
  }

  std::unique_ptr<Output> output_;
};

std::string bigann_header(std::uint64_t rows, std::size_t dim, const std::string& name) {
  if (rows > std::numeric_limits<std::uint32_t>::max()) {
    throw misuse("{}: this format counts at most 2^32 - 1 rows; use .fvecs, .npy or .h5", name);
  }
  const std::array<std::uint32_t, 2> header{static_cast<std::uint32_t>(rows), static_cast<std::uint32_t>(dim)};
  return {reinterpret_cast<const char*>(header.data()), sizeof(header)};
}

/// Rows behind a header that holds their number (.npy, .fbin and its kin). The header is filled in at the end, unless
/// the number was known from the start.
class MatrixWriter final : public StoredWriter {
 public:
  /// The bytes of the header for so many rows; always of the same length.
  using Header = std::function<std::string(std::uint64_t rows)>;

  MatrixWriter(std::unique_ptr<Output> output, const WriteOptions& options, Header header)
      : StoredWriter(output->name(), options.dim, options.element),
        output_(std::move(output)),
        header_(std::move(header)),
        announced_(options.rows) {
    const std::string bytes = header_(announced_.value_or(0));
    output_->write(bytes.data(), bytes.size());
  }

  void finish() override {
    if (announced_ != rows_written()) {
      if (!output_->can_patch()) {
        throw failed("{}: announced {} rows, {} came; what was sent is of no use", name(), *announced_, rows_written());
      }
      const std::string bytes = header_(rows_written());
      output_->write_at(0, bytes.data(), bytes.size());
    }
    output_->finish();
  }

 private:
  void put(std::byte* rows, std::size_t count) override { output_->write(rows, count * row_bytes()); }

  std::unique_ptr<Output> output_;
  Header header_;
  std::optional<std::uint64_t> announced_;
};

/// big-ann ground truth: all ids, then all distances. The distances wait in a temporary file until the ids are
/// complete.
class GroundTruthWriter final : public Writer {
 public:
  GroundTruthWriter(std::unique_ptr<Output> output, std::size_t dim)
      : output_(std::move(output)), ids_(*output_, dim), distances_(output_->name(), dim) {}

  void write(const float* rows, std::size_t count) override { distances_.write(rows, count); }
  void write_ids(const idx_t* rows, std::size_t count) override { ids_.write_ids(rows, count); }

  void finish() override {
    if (ids_.rows() != distances_.rows()) {
      throw misuse("{}: ground truth needs as many rows of ids as of distances, found {} and {}", output_->name(),
                   ids_.rows(), distances_.rows());
    }
    ids_.write_header();
    distances_.copy_to(*output_);
    output_->finish();
  }

 private:
  class Ids final : public StoredWriter {
   public:
    Ids(Output& output, std::size_t dim) : StoredWriter(output.name(), dim, Element::i32), output_(output) {
      const std::string header = bigann_header(0, dim, name());
      output_.write(header.data(), header.size());
    }
    std::uint64_t rows() const noexcept { return rows_written(); }
    void write_header() {
      const std::string header = bigann_header(rows(), dim(), name());
      output_.write_at(0, header.data(), header.size());
    }
    void finish() override {}

   private:
    void put(std::byte* rows, std::size_t count) override { output_.write(rows, count * row_bytes()); }
    Output& output_;
  };

  class Distances final : public StoredWriter {
   public:
    Distances(const std::string& name, std::size_t dim) : StoredWriter(name, dim, Element::f32), spool_(name) {}
    std::uint64_t rows() const noexcept { return rows_written(); }
    void copy_to(Output& output) { spool_.copy_to(output); }
    void finish() override {}

   private:
    void put(std::byte* rows, std::size_t count) override { spool_.write(rows, count * row_bytes()); }
    Spool spool_;
  };

  std::unique_ptr<Output> output_;
  Ids ids_;
  Distances distances_;
};

}  // namespace

std::unique_ptr<Writer> create_vecs(const Spec& spec, const WriteOptions& options) {
  return std::make_unique<VecsWriter>(Output::open(spec.path, false), options.dim, options.element);
}

std::unique_ptr<Writer> create_bigann(const Spec& spec, const WriteOptions& options) {
  auto output = Output::open(spec.path, !options.rows);
  auto header = [dim = options.dim, name = output->name()](std::uint64_t rows) {
    return bigann_header(rows, dim, name);
  };
  return std::make_unique<MatrixWriter>(std::move(output), options, std::move(header));
}

std::unique_ptr<Writer> create_npy(const Spec& spec, const WriteOptions& options) {
  auto header = [dim = options.dim, element = options.element](std::uint64_t rows) {
    return npy_preamble(element, rows, dim);
  };
  return std::make_unique<MatrixWriter>(Output::open(spec.path, !options.rows), options, std::move(header));
}

std::unique_ptr<Writer> create_ground_truth(const Spec& spec, const WriteOptions& options) {
  if (!spec.dataset.empty()) {
    throw misuse("{}: ground truth is written whole, ids and distances; drop ':{}'", spec.text, spec.dataset);
  }
  return std::make_unique<GroundTruthWriter>(Output::open(spec.path, true), options.dim);
}

}  // namespace ivf::datasets

// gaussian:, uniform: and clustered: sources. Value (row, column) depends on the options, the seed and its place alone.

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>

#include "errors.h"
#include "formats.h"
#include "normal.h"
#include "stored_reader.h"

namespace ivf::datasets {

namespace {

/// The limits keep every counter below 2^64.
constexpr std::uint64_t kMaxRows = std::uint64_t{1} << 40;

/// Independent sequences of one seed. Part of what makes a generated set reproducible: never renumbered.
enum Stream : std::uint64_t { kValues = 0x64617461, kCentres = 0x63656e74, kChoice = 0x70696373 };

/// The options of a generated source, as in n=1000,d=64,seed=7.
class Options {
 public:
  Options(const Spec& spec, std::initializer_list<std::string_view> known) : text_(spec.text) {
    std::string_view rest = spec.path;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const std::string_view item = rest.substr(0, comma);
      const std::size_t equals = item.find('=');
      const std::string_view key = item.substr(0, equals);
      if (equals == std::string_view::npos || std::find(known.begin(), known.end(), key) == known.end()) {
        throw misuse("{}: '{}' is no option of {}; known are {}", text_, item, format_name(spec.format),
                     fmt::join(known, ", "));
      }
      if (!values_.emplace(key, item.substr(equals + 1)).second) throw misuse("{}: '{}' is given twice", text_, key);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }

  std::uint64_t integer(const std::string& key, std::optional<std::uint64_t> fallback, std::uint64_t low,
                        std::uint64_t high) const {
    const auto value = number<std::uint64_t>(key, fallback, "a whole number");
    if (value < low || value > high) {
      throw misuse("{}: expected {} from {} to {}, found {}", text_, key, low, high, value);
    }
    return value;
  }

  double real(const std::string& key, double fallback) const {
    const auto value = number<double>(key, fallback, "a number");
    if (!(std::abs(value) <= std::numeric_limits<float>::max())) {
      throw misuse("{}: expected {} to be finite, as a float32, found {}", text_, key, value);
    }
    return value;
  }

 private:
  template <class T>
  T number(const std::string& key, std::optional<T> fallback, std::string_view kind) const {
    const auto found = values_.find(key);
    if (found == values_.end()) {
      if (!fallback)
        throw misuse("{}: {} is missing, as in {}:n=1000,d=64", text_, key, text_.substr(0, text_.find(':')));
      return *fallback;
    }
    T value{};
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw misuse("{}: expected {} for {}, found '{}'", text_, kind, key, text);
    }
    return value;
  }

  std::string text_;
  std::map<std::string, std::string> values_;
};

/// Fills whole values from an index on; the index counts along rows.
class GeneratedReader : public StoredReader {
 protected:
  GeneratedReader(const Spec& spec, const Options& options, const ReadOptions& window)
      : StoredReader(spec.text), seed_(options.integer("seed", 0, 0, std::numeric_limits<std::uint64_t>::max())) {
    const std::uint64_t rows = options.integer("n", std::nullopt, 0, kMaxRows);
    const auto dim = static_cast<std::size_t>(options.integer("d", std::nullopt, 1, kMaxDim));
    set_shape({dim, rows, Element::f32, Element::f32, false}, window);
    values_.resize(dim);
    batch_rows_ = std::max<std::size_t>(1, kBatchValues / dim);
    buffer_.resize(batch_rows_ * dim);
  }

  std::uint64_t seed() const noexcept { return seed_; }
  /// Row `row`, in double precision.
  virtual void fill_row(std::uint64_t row, std::vector<double>& out) = 0;

 private:
  static constexpr std::size_t kBatchValues = 16384;

  Block next_block(std::size_t max_rows) override {
    const std::size_t count = std::min(max_rows, batch_rows_);
    for (std::size_t i = 0; i < count; ++i) {
      fill_row(next_row() + i, values_);
      std::transform(values_.begin(), values_.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(i * dim()),
                     [](double value) { return static_cast<float>(value); });
    }
    return {reinterpret_cast<const std::byte*>(buffer_.data()), count, dim() * sizeof(float)};
  }

  std::uint64_t seed_;
  std::size_t batch_rows_ = 1;
  std::vector<double> values_;
  std::vector<float> buffer_;
};

/// Independent standard normal values.
class GaussianReader final : public GeneratedReader {
 public:
  GaussianReader(const Spec& spec, const ReadOptions& window)
      : GeneratedReader(spec, Options(spec, {"n", "d", "seed"}), window), source_(seed(), kValues) {}

 private:
  void fill_row(std::uint64_t row, std::vector<double>& out) override {
    fill_normal(source_, row * out.size(), out.size(), out.data());
  }

  Philox source_;
};

/// Independent values, uniform in [low, high).
class UniformReader final : public GeneratedReader {
 public:
  UniformReader(const Spec& spec, const ReadOptions& window)
      : UniformReader(spec, Options(spec, {"n", "d", "seed", "low", "high"}), window) {}

 private:
  UniformReader(const Spec& spec, const Options& options, const ReadOptions& window)
      : GeneratedReader(spec, options, window),
        source_(seed(), kValues),
        low_(options.real("low", 0.0)),
        width_(options.real("high", 1.0) - low_) {
    if (!(width_ > 0)) throw misuse("{}: expected low < high", spec.text);
  }

  void fill_row(std::uint64_t row, std::vector<double>& out) override {
    fill_uniform(source_, row * out.size(), out.size(), out.data());
    for (double& value : out) value = low_ + width_ * value;
  }

  Philox source_;
  double low_;
  double width_;
};

/// Standard normal centres; every row is one of them, chosen evenly, plus normal noise of standard deviation `spread`.
class ClusteredReader final : public GeneratedReader {
 public:
  ClusteredReader(const Spec& spec, const ReadOptions& window)
      : ClusteredReader(spec, Options(spec, {"n", "d", "seed", "clusters", "spread"}), window) {}

 private:
  ClusteredReader(const Spec& spec, const Options& options, const ReadOptions& window)
      : GeneratedReader(spec, options, window),
        noise_(seed(), kValues),
        centres_(seed(), kCentres),
        choice_(seed(), kChoice),
        clusters_(options.integer("clusters", 100, 1, std::numeric_limits<std::uint32_t>::max())),
        spread_(options.real("spread", 0.25)),
        centre_(dim()) {
    if (!(spread_ >= 0)) throw misuse("{}: expected spread to be at least 0, found {}", spec.text, spread_);
  }

  void fill_row(std::uint64_t row, std::vector<double>& out) override {
    // The upper half of a product spreads 32 random bits evenly over the clusters.
    const std::uint64_t cluster = (std::uint64_t{choice_.block(row)[0]} * clusters_) >> 32;
    // Centres are made anew for each row: twice the time, but no memory, whatever their number.
    fill_normal(centres_, cluster * out.size(), out.size(), centre_.data());
    fill_normal(noise_, row * out.size(), out.size(), out.data());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = centre_[i] + spread_ * out[i];
  }

  Philox noise_;
  Philox centres_;
  Philox choice_;
  std::uint64_t clusters_;
  double spread_;
  std::vector<double> centre_;
};

}  // namespace

std::unique_ptr<Reader> open_generated(const Spec& spec, const ReadOptions& options) {
  switch (spec.format) {
    case Format::uniform:
      return std::make_unique<UniformReader>(spec, options);
    case Format::clustered:
      return std::make_unique<ClusteredReader>(spec, options);
    default:
      return std::make_unique<GaussianReader>(spec, options);
  }
}

}  // namespace ivf::datasets

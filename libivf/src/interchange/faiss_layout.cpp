#include "interchange/faiss_layout.h"

#include <algorithm>
#include <array>

#include "index/checks.h"

namespace ivf::detail {
namespace {

constexpr std::uint64_t max_rows = std::uint64_t{1} << 40;  // Of an index (docs/format.md).

struct TypeName {
  std::uint32_t code;
  const char* name;
};

constexpr TypeName flat_types[] = {
    {fourcc("IxF2"), "IndexFlatL2"}, {fourcc("IxFI"), "IndexFlatIP"}, {fourcc("IxFl"), "IndexFlat"}};
constexpr TypeName map_types[] = {{fourcc("IxMp"), "IndexIDMap"}, {fourcc("IxM2"), "IndexIDMap2"}};
constexpr TypeName ivf_type = {fourcc("IwFl"), "IndexIVFFlat"};

// What people are likely to try; index_read.cpp of faiss has them all.
constexpr TypeName other_types[] = {
    {fourcc("IvFl"), "IndexIVFFlat of a faiss before 1.5"},
    {fourcc("IvFL"), "IndexIVFFlat of a faiss before 1.5"},
    {fourcc("IwFd"), "IndexIVFFlatDedup"},
    {fourcc("IwPn"), "IndexIVFFlatPanorama"},
    {fourcc("IwP2"), "IndexIVFFlatPanorama"},
    {fourcc("IwPQ"), "IndexIVFPQ"},
    {fourcc("IvPQ"), "IndexIVFPQ"},
    {fourcc("IwQR"), "IndexIVFPQR"},
    {fourcc("IvQR"), "IndexIVFPQR"},
    {fourcc("IwPf"), "IndexIVFPQFastScan"},
    {fourcc("IwSq"), "IndexIVFScalarQuantizer"},
    {fourcc("IwSQ"), "IndexIVFScalarQuantizer"},
    {fourcc("IvSQ"), "IndexIVFScalarQuantizer"},
    {fourcc("IwSh"), "IndexIVFSpectralHash"},
    {fourcc("IwRQ"), "IndexIVFResidualQuantizer"},
    {fourcc("IwLS"), "IndexIVFLocalSearchQuantizer"},
    {fourcc("Iwrq"), "IndexIVFRaBitQ"},
    {fourcc("IwIQ"), "IndexIVFIndependentQuantizer"},
    {fourcc("IxFP"), "IndexFlatL2Panorama"},
    {fourcc("IxFp"), "IndexFlatIPPanorama"},
    {fourcc("IxHE"), "IndexLSH"},
    {fourcc("IxHe"), "IndexLSH"},
    {fourcc("IxPQ"), "IndexPQ"},
    {fourcc("IxPo"), "IndexPQ"},
    {fourcc("IxPq"), "IndexPQ"},
    {fourcc("IPfs"), "IndexPQFastScan"},
    {fourcc("IxSQ"), "IndexScalarQuantizer"},
    {fourcc("IxRQ"), "IndexResidualQuantizer"},
    {fourcc("IxRq"), "IndexResidualQuantizer"},
    {fourcc("IxLS"), "IndexLocalSearchQuantizer"},
    {fourcc("Ixrq"), "IndexRaBitQ"},
    {fourcc("IxLa"), "IndexLattice"},
    {fourcc("IxPT"), "IndexPreTransform"},
    {fourcc("IxRF"), "IndexRefine"},
    {fourcc("Ix2L"), "Index2Layer"},
    {fourcc("Imiq"), "MultiIndexQuantizer"},
    {fourcc("IHNf"), "IndexHNSWFlat"},
    {fourcc("IHNp"), "IndexHNSWPQ"},
    {fourcc("IHNs"), "IndexHNSWSQ"},
    {fourcc("IHN2"), "IndexHNSW2Level"},
    {fourcc("IHNc"), "IndexHNSWCagra"},
    {fourcc("IHc2"), "IndexHNSWCagra"},
    {fourcc("INSf"), "IndexNSGFlat"},
    {fourcc("INNf"), "IndexNNDescentFlat"},
    {fourcc("IBxF"), "IndexBinaryFlat"},
    {fourcc("IBwF"), "IndexBinaryIVF"},
    {fourcc("IBHf"), "IndexBinaryHNSW"},
    {fourcc("IBMp"), "IndexBinaryIDMap"},
    {fourcc("IBM2"), "IndexBinaryIDMap2"},
    {fourcc("null"), "no index at all"},
};

constexpr TypeName other_lists[] = {
    {fourcc("il00"), "none (they were saved elsewhere)"},
    {fourcc("ilod"), "OnDiskInvertedLists"},
    {fourcc("ilpn"), "ArrayInvertedListsPanorama"},
    {fourcc("ilp2"), "ArrayInvertedListsPanorama"},
    {fourcc("ilbl"), "BlockInvertedLists"},
};

struct MetricName {
  std::int32_t number;
  const char* name;
};
constexpr MetricName other_metrics[] = {{2, "L1"},        {3, "Linf"},           {4, "Lp"},
                                        {20, "Canberra"}, {21, "Bray-Curtis"},   {22, "Jensen-Shannon"},
                                        {23, "Jaccard"},  {24, "NaN-Euclidean"}, {25, "Gower"}};

template <class Names>
const TypeName* find_type(const Names& names, std::uint32_t code) {
  const auto found =
      std::find_if(std::begin(names), std::end(names), [code](const TypeName& type) { return type.code == code; });
  return found == std::end(names) ? nullptr : &*found;
}

/// The four characters, others than printable ones as numbers.
std::string printable(std::uint32_t code) {
  std::string text;
  for (int i = 0; i < 4; ++i) {
    const auto c = static_cast<unsigned char>(code >> (8 * i));
    text += c >= 0x20 && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  }
  return text;
}

/// The class that faiss reads this code as; empty when it is none that is known.
std::string faiss_type_name(std::uint32_t code) {
  if (code == ivf_type.code) return ivf_type.name;
  if (const TypeName* type = find_type(flat_types, code)) return type->name;
  if (const TypeName* type = find_type(map_types, code)) return type->name;
  const TypeName* type = find_type(other_types, code);
  return type == nullptr ? "" : type->name;
}

class LayoutReader {
 public:
  explicit LayoutReader(const SizedFile& file) : file_(file), cursor_(file) {}

  FaissLayout read() {
    const auto code = cursor_.take<std::uint32_t>("the type of the index");
    if (const TypeName* type = find_type(map_types, code)) {
      read_map(*type);
    } else if (code == ivf_type.code) {
      read_ivf();
    } else {
      use_flat(take_flat(code, "the index"));
    }
    cursor_.require_end();
    return std::move(layout_);
  }

 private:
  struct Header {
    std::size_t dim = 0;
    std::uint64_t rows = 0;
    bool trained = false;
    Metric metric = Metric::l2;
  };
  struct Flat {
    std::string type;
    Header header;
    std::uint64_t vectors = 0;  ///< Offset.
  };

  /// Throws Error(misuse): sound, as far as can be told, but not for us.
  [[noreturn]] void unsupported(
      const std::string& expected, const std::string& found,
      const char* remedy = "let faiss reconstruct its vectors, and add those to an index") const {
    throw Error(ErrorKind::misuse, fmt::format("{}: expected {}, found {}; {}", file_.path(), expected, found, remedy));
  }

  [[noreturn]] void refuse_type(std::uint32_t code, const char* what) const {
    const std::string name = faiss_type_name(code);
    if (name.empty()) {
      cursor_.refuse("the code of a type of index of faiss", fmt::format("'{}'", printable(code)));
    }
    unsupported(
        fmt::format("{} to be an {}", what,
                    std::string_view(what) == "the index" ? "IndexFlat, an IndexIDMap around one, or an IndexIVFFlat"
                                                          : "IndexFlat"),
        name);
  }

  Metric take_metric() {
    const auto number = cursor_.take<std::int32_t>("the metric");
    if (number == faiss_l2) return Metric::l2;
    if (number == faiss_inner_product) return Metric::ip;
    for (const MetricName& metric : other_metrics) {
      if (metric.number == number) unsupported("L2 or inner product as the metric", metric.name);
    }
    cursor_.refuse("a metric of faiss", fmt::format("{}", number));
  }

  Header take_header() {
    Header header;
    const auto dim = cursor_.take<std::int32_t>("the dimension");
    if (dim < 1 || static_cast<std::size_t>(dim) > max_dim) {
      cursor_.refuse(fmt::format("a dimension of 1 to {}", max_dim), fmt::format("{}", dim));
    }
    const auto rows = cursor_.take<std::int64_t>("the number of rows");
    if (rows < 0 || static_cast<std::uint64_t>(rows) > max_rows) {
      cursor_.refuse("0 to 2^40 rows", fmt::format("{}", rows));
    }
    cursor_.skip_items(2, sizeof(std::int64_t), "two numbers without a meaning");
    const auto trained = cursor_.take<std::uint8_t>("whether it is trained");
    if (trained > 1) cursor_.refuse("0 or 1 as whether it is trained", fmt::format("{}", trained));
    header.dim = static_cast<std::size_t>(dim);
    header.rows = static_cast<std::uint64_t>(rows);
    header.trained = trained == 1;
    header.metric = take_metric();
    return header;
  }

  void require_same(std::uint64_t expected, std::uint64_t found, const char* what) const {
    if (expected != found) cursor_.refuse(fmt::format("{} {}", expected, what), fmt::format("{}", found));
  }
  void require_same_metric(Metric expected, Metric found, const char* what) const {
    const auto name = [](Metric metric) { return metric == Metric::l2 ? "L2" : "inner product"; };
    if (expected != found) cursor_.refuse(fmt::format("{} as the metric of {}", name(expected), what), name(found));
  }

  Flat take_flat(std::uint32_t code, const char* what) {
    const TypeName* type = find_type(flat_types, code);
    if (type == nullptr) refuse_type(code, what);
    Flat flat{type->name, take_header()};
    if (code == fourcc("IxF2")) require_same_metric(Metric::l2, flat.header.metric, type->name);
    if (code == fourcc("IxFI")) require_same_metric(Metric::ip, flat.header.metric, type->name);
    // Neither product overflows: 2^40 rows of 2^16 dimensions at most.
    require_same(flat.header.rows * flat.header.dim, cursor_.take<std::uint64_t>("the number of values"),
                 "values, dimension times rows");
    flat.vectors = cursor_.offset();
    cursor_.skip_items(flat.header.rows * flat.header.dim, sizeof(float), "vectors");
    return flat;
  }

  void use_flat(const Flat& flat) {
    layout_.type = flat.type;
    layout_.flat = true;
    layout_.metric = layout_.quantizer_metric = flat.header.metric;
    layout_.dim = flat.header.dim;
    layout_.rows = flat.header.rows;
    layout_.lists = flat.vectors;
    layout_.list_sizes = {flat.header.rows};
  }

  void read_map(const TypeName& type) {
    const Header header = take_header();
    const Flat flat = take_flat(cursor_.take<std::uint32_t>("the type of the index within"), "the index within");
    require_same(header.dim, flat.header.dim, "dimensions of the index within");
    require_same(header.rows, flat.header.rows, "rows of the index within");
    require_same_metric(header.metric, flat.header.metric, "the index within");
    use_flat(flat);
    layout_.type = type.name;
    layout_.has_ids = true;
    require_same(header.rows, cursor_.take<std::uint64_t>("the number of ids"), "ids, one a row");
    layout_.id_map = cursor_.offset();
    cursor_.skip_items(header.rows, sizeof(idx_t), "ids");
  }

  void read_ivf() {
    const Header header = take_header();
    const auto nlist = cursor_.take<std::uint64_t>("the number of lists");
    cursor_.take<std::uint64_t>("nprobe");
    const Flat quantizer =
        take_flat(cursor_.take<std::uint32_t>("the type of the coarse quantizer"), "the coarse quantizer");
    if (!header.trained) unsupported("a trained index", "one that is not trained", "train it first");
    if (nlist > max_nlist) {
      unsupported(fmt::format("at most {} lists", max_nlist), fmt::format("{}", nlist));
    }
    if (nlist == 0) cursor_.refuse("at least one list", "none");
    require_same(nlist, quantizer.header.rows, "centroids, one a list");
    require_same(header.dim, quantizer.header.dim, "dimensions of the centroids");
    layout_.type = ivf_type.name;
    layout_.metric = header.metric;
    layout_.quantizer_metric = quantizer.header.metric;
    layout_.dim = header.dim;
    layout_.rows = header.rows;
    layout_.centroids = quantizer.vectors;
    layout_.has_ids = true;
    skip_direct_map();
    read_list_sizes(nlist);
    layout_.lists = cursor_.offset();
    skip_lists();
  }

  /// Where each id is; found out anew when it is needed.
  void skip_direct_map() {
    const auto kind = cursor_.take<std::uint8_t>("the kind of the direct map");
    constexpr std::uint8_t hash_table = 2;
    if (kind > hash_table) cursor_.refuse("0, 1 or 2 as the kind of the direct map", fmt::format("{}", kind));
    cursor_.skip_items(cursor_.take<std::uint64_t>("the size of the direct map"), sizeof(idx_t), "the direct map");
    if (kind != hash_table) return;
    cursor_.skip_items(cursor_.take<std::uint64_t>("the size of the hash table"), 2 * sizeof(idx_t), "the hash table");
  }

  void read_list_sizes(std::uint64_t nlist) {
    const auto code = cursor_.take<std::uint32_t>("the type of the inverted lists");
    if (code != fourcc("ilar")) {
      if (const TypeName* type = find_type(other_lists, code)) unsupported("ArrayInvertedLists", type->name);
      cursor_.refuse("the code of inverted lists of faiss", fmt::format("'{}'", printable(code)));
    }
    require_same(nlist, cursor_.take<std::uint64_t>("the number of inverted lists"), "inverted lists");
    require_same(layout_.dim * sizeof(float), cursor_.take<std::uint64_t>("the bytes of a row"), "bytes a row");
    const auto kind = cursor_.take<std::uint32_t>("the kind of the sizes of lists");
    if (kind == fourcc("full")) {
      require_same(nlist, cursor_.take<std::uint64_t>("the number of sizes"), "sizes, one a list");
      layout_.list_sizes = take_numbers(nlist);
    } else if (kind == fourcc("sprs")) {
      read_sparse_sizes(nlist);
    } else {
      cursor_.refuse("'full' or 'sprs'", fmt::format("'{}'", printable(kind)));
    }
  }

  /// Pairs of a list and its size; lists that are not named are empty.
  void read_sparse_sizes(std::uint64_t nlist) {
    const auto count = cursor_.take<std::uint64_t>("the number of lists and sizes");
    if (count % 2 != 0 || count / 2 > nlist) {
      cursor_.refuse(fmt::format("at most {} pairs of a list and its size", nlist), fmt::format("{} numbers", count));
    }
    const std::vector<std::uint64_t> pairs = take_numbers(count);
    layout_.list_sizes.assign(nlist, 0);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const std::uint64_t least = i == 0 ? 0 : pairs[i - 2] + 1;
      if (pairs[i] < least || pairs[i] >= nlist) {
        cursor_.refuse(fmt::format("a list of {} to {} as number {}", least, nlist - 1, i),
                       fmt::format("{}", pairs[i]));
      }
      layout_.list_sizes[pairs[i]] = pairs[i + 1];
    }
  }

  std::vector<std::uint64_t> take_numbers(std::uint64_t count) {
    cursor_.require_items(count, sizeof(std::uint64_t), "the sizes of lists");
    std::vector<std::uint64_t> numbers(count);
    file_.read(cursor_.offset(), numbers.data(), count * sizeof(std::uint64_t));
    cursor_.skip_items(count, sizeof(std::uint64_t), "the sizes of lists");
    return numbers;
  }

  void skip_lists() {
    std::uint64_t rows = 0;
    for (const std::uint64_t size : layout_.list_sizes) {
      // Each is at most what the file holds, and so is their sum.
      cursor_.skip_items(size, layout_.dim * sizeof(float) + sizeof(idx_t), "vectors and ids of a list");
      rows += size;
    }
    require_same(layout_.rows, rows, "rows in all lists");
  }

  const SizedFile& file_;
  FaissCursor cursor_;
  FaissLayout layout_;
};

}  // namespace

FaissLayout read_faiss_layout(const SizedFile& file) { return LayoutReader(file).read(); }

}  // namespace ivf::detail

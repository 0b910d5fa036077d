// .npy: a magic number, a version, the length of a header text, the text, then the array.

#include <cstring>

#include "errors.h"
#include "formats.h"
#include "matrix_reader.h"
#include "npy_header.h"
#include "row_shape.h"

namespace ivf::datasets {

namespace {

/// Far more than an array of numbers needs; what is longer describes records, or is an attack.
constexpr std::size_t kMaxHeader = 65536;

}  // namespace

std::unique_ptr<Reader> open_npy(const Spec& spec, const ReadOptions& options) {
  auto input = std::make_unique<Input>(spec.path);
  const std::string& name = input->name();
  constexpr std::size_t kMagic = 6;
  constexpr std::size_t kVersion = 8;  // magic and two bytes of version
  auto bytes = input->peek(kVersion);
  if (bytes.size() < kVersion || std::memcmp(bytes.data(), "\x93NUMPY", kMagic) != 0) {
    throw corrupt("{}: byte 0: expected the magic number of a .npy file, found {}", name,
                  bytes.size() < kVersion ? "too few bytes" : "something else");
  }
  const auto major = static_cast<unsigned>(bytes[kMagic]);
  const auto minor = static_cast<unsigned>(bytes[kMagic + 1]);
  if (major < 1 || major > 3 || minor != 0) {
    throw corrupt("{}: byte 6: expected .npy version 1.0, 2.0 or 3.0, found {}.{}", name, major, minor);
  }
  const std::size_t before_text = kVersion + (major == 1 ? sizeof(std::uint16_t) : sizeof(std::uint32_t));
  bytes = input->peek(before_text);
  std::uint32_t length = 0;
  if (bytes.size() >= before_text) std::memcpy(&length, bytes.data() + kVersion, before_text - kVersion);
  if (length > kMaxHeader) {
    throw corrupt("{}: byte 8: expected a header of at most {} bytes, found {}", name, kMaxHeader, length);
  }
  bytes = input->peek(before_text + length);
  if (bytes.size() < before_text + length) {
    throw corrupt("{}: byte 8: expected a header of {} bytes, found the end after {}", name, before_text + length,
                  bytes.size());
  }
  const std::string text(reinterpret_cast<const char*>(bytes.data()) + before_text, length);
  const NpyHeader header = parse_npy_header(text, name);
  input->consume(before_text + length);

  if (header.fortran_order && header.shape.size() > 1) {
    throw misuse("{}: is in Fortran order; save it with numpy.save(path, numpy.ascontiguousarray(array))", name);
  }
  const RowShape shape = row_shape(header.shape, header.element, name);
  std::string reader_name = name;
  return std::make_unique<MatrixReader>(std::move(input), std::move(reader_name),
                                        MatrixLayout{shape.rows, shape.dim, header.element, header.swapped, 0, 0},
                                        options);
}

}  // namespace ivf::datasets

#include "elements.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace ivf::datasets {

static_assert(std::endian::native == std::endian::little, "the files are little-endian and are read without swapping");

namespace {

/// IEEE binary16 as stored.
struct Half {
  std::uint16_t bits;
};

template <class T>
struct Unsigned {
  using type = std::make_unsigned_t<T>;
};
template <>
struct Unsigned<float> {
  using type = std::uint32_t;
};
template <>
struct Unsigned<double> {
  using type = std::uint64_t;
};
template <>
struct Unsigned<Half> {
  using type = std::uint16_t;
};

template <class U>
U byte_swap(U value) noexcept {
  if constexpr (sizeof(U) == 2) return static_cast<U>(__builtin_bswap16(value));
  if constexpr (sizeof(U) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(U) == 8) return __builtin_bswap64(value);
  return value;
}

template <class T, bool Swapped>
T load(const std::byte* stored, std::size_t index) noexcept {
  typename Unsigned<T>::type bits;
  std::memcpy(&bits, stored + index * sizeof(T), sizeof(T));
  if constexpr (Swapped) bits = byte_swap(bits);
  return std::bit_cast<T>(bits);
}

/// Every binary16 value is a float32. Subnormals go through an integer, so that a processor set to flush subnormals to
/// zero gives the same bits.
float half_to_float(Half half) noexcept {
  const std::uint32_t sign = std::uint32_t{half.bits & 0x8000u} << 16;
  const std::uint32_t exponent = (half.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = half.bits & 0x3ffu;
  const std::uint32_t small = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(mantissa)) * 0x1p-24f);
  const std::uint32_t normal = ((exponent + 112) << 23) | (mantissa << 13);
  const std::uint32_t special = 0x7f800000u | (mantissa << 13);
  const std::uint32_t magnitude = exponent == 0 ? small : (exponent == 31 ? special : normal);
  return std::bit_cast<float>(sign | magnitude);
}

/// False when no binary16 has this value. A NaN stays a NaN.
bool float_to_half(float value, Half& out) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude == 0x7f800000u) {
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u && magnitude < 0x47800000u) {
    if ((magnitude & 0x1fffu) != 0) return false;
    half = (magnitude - 0x38000000u) >> 13;
  } else {
    const float steps = std::bit_cast<float>(magnitude) * 0x1p24f;  // multiples of the smallest subnormal
    if (!(steps < 1024.0f) || steps != std::trunc(steps)) return false;
    half = static_cast<std::uint32_t>(steps);
  }
  out.bits = static_cast<std::uint16_t>(sign | half);
  return true;
}

/// Integers up to 2^24 are exact in float32; beyond, only those with enough trailing zeros.
constexpr std::int64_t kExactLimit = std::int64_t{1} << 24;

bool exact_in_float(std::int64_t value) noexcept {
  std::uint64_t magnitude = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  if (magnitude == 0) return true;
  magnitude >>= std::countr_zero(magnitude);
  return magnitude <= static_cast<std::uint64_t>(kExactLimit);
}

template <class T, bool Swapped>
std::size_t to_float_as(const std::byte* stored, std::size_t count, float* out) noexcept {
  if constexpr (std::is_same_v<T, float> && !Swapped) {
    std::memcpy(out, stored, count * sizeof(float));
    return count;
  } else if constexpr (std::is_same_v<T, Half>) {
    for (std::size_t i = 0; i < count; ++i) out[i] = half_to_float(load<T, Swapped>(stored, i));
    return count;
  } else if constexpr (std::is_integral_v<T> && sizeof(T) > 2) {
    bool large = false;
    for (std::size_t i = 0; i < count; ++i) {
      const T value = load<T, Swapped>(stored, i);
      large |= value > kExactLimit || value < -kExactLimit;
      out[i] = static_cast<float>(value);
    }
    for (std::size_t i = 0; large && i < count; ++i) {
      if (!exact_in_float(load<T, Swapped>(stored, i))) return i;
    }
    return count;
  } else {
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(load<T, Swapped>(stored, i));
    return count;
  }
}

template <class T, bool Swapped>
std::size_t to_ids_as(const std::byte* stored, std::size_t count, idx_t* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) out[i] = load<T, Swapped>(stored, i);
  return count;
}

template <class T>
std::size_t from_float_as(const float* values, std::size_t count, std::byte* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    T stored{};
    if constexpr (std::is_same_v<T, Half>) {
      if (!float_to_half(values[i], stored)) return i;
    } else if constexpr (std::is_integral_v<T>) {
      // Both bounds are powers of two, hence exact. A NaN fails the comparisons.
      constexpr float low = static_cast<float>(std::numeric_limits<T>::min());
      constexpr float past = 2.0f * static_cast<float>(std::numeric_limits<T>::max() / 2 + 1);
      if (!(values[i] >= low && values[i] < past) || values[i] != std::trunc(values[i])) return i;
      stored = static_cast<T>(values[i]);
    } else {
      stored = values[i];
    }
    std::memcpy(out + i * sizeof(T), &stored, sizeof(T));
  }
  return count;
}

template <class T>
std::size_t from_ids_as(const idx_t* values, std::size_t count, std::byte* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    T stored{};
    if constexpr (std::is_integral_v<T>) {
      if (values[i] < idx_t{std::numeric_limits<T>::min()} || values[i] > idx_t{std::numeric_limits<T>::max()})
        return i;
      stored = static_cast<T>(values[i]);
    } else if constexpr (std::is_same_v<T, double>) {
      // A float64 is read back as float32, so it gets no more range than that.
      if (!exact_in_float(values[i])) return i;
      stored = static_cast<double>(values[i]);
    } else {
      if (!exact_in_float(values[i])) return i;
      const float value = static_cast<float>(values[i]);
      if constexpr (std::is_same_v<T, Half>) {
        if (!float_to_half(value, stored)) return i;
      } else {
        stored = value;
      }
    }
    std::memcpy(out + i * sizeof(T), &stored, sizeof(T));
  }
  return count;
}

/// Calls `visit` with a value of the type that `element` names.
template <class Visitor>
std::size_t with_type(Element element, Visitor&& visit) noexcept {
  switch (element) {
    case Element::f32:
      return visit(float{});
    case Element::f64:
      return visit(double{});
    case Element::f16:
      return visit(Half{});
    case Element::u8:
      return visit(std::uint8_t{});
    case Element::i8:
      return visit(std::int8_t{});
    case Element::i32:
      return visit(std::int32_t{});
    case Element::i64:
      return visit(std::int64_t{});
  }
  return 0;
}

}  // namespace

const char* element_name(Element element) noexcept {
  switch (element) {
    case Element::f32:
      return "float32";
    case Element::f64:
      return "float64";
    case Element::f16:
      return "float16";
    case Element::u8:
      return "uint8";
    case Element::i8:
      return "int8";
    case Element::i32:
      return "int32";
    case Element::i64:
      return "int64";
  }
  return "unknown";
}

std::size_t element_size(Element element) noexcept {
  return with_type(element, [](auto sample) { return sizeof(sample); });
}

bool is_integer(Element element) noexcept {
  return with_type(element, [](auto sample) -> std::size_t { return std::is_integral_v<decltype(sample)>; }) != 0;
}

std::size_t to_float(Element element, bool swapped, const std::byte* stored, std::size_t count, float* out) noexcept {
  return with_type(element, [&](auto sample) {
    using T = decltype(sample);
    return swapped ? to_float_as<T, true>(stored, count, out) : to_float_as<T, false>(stored, count, out);
  });
}

std::size_t to_ids(Element element, bool swapped, const std::byte* stored, std::size_t count, idx_t* out) noexcept {
  return with_type(element, [&](auto sample) -> std::size_t {
    using T = decltype(sample);
    if constexpr (std::is_integral_v<T>) {
      return swapped ? to_ids_as<T, true>(stored, count, out) : to_ids_as<T, false>(stored, count, out);
    } else {
      return 0;
    }
  });
}

std::size_t from_float(const float* values, std::size_t count, Element element, std::byte* out) noexcept {
  return with_type(element, [&](auto sample) { return from_float_as<decltype(sample)>(values, count, out); });
}

std::size_t from_ids(const idx_t* values, std::size_t count, Element element, std::byte* out) noexcept {
  return with_type(element, [&](auto sample) { return from_ids_as<decltype(sample)>(values, count, out); });
}

}  // namespace ivf::datasets

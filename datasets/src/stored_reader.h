#pragma once
/// \file
/// What the readers of stored matrices share: conversion, the window of rows, and messages about single values.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "elements.h"
#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// A format's reader tells its shape once and then hands out blocks of stored rows.
class StoredReader : public Reader {
 public:
  std::size_t dim() const override { return shape_.dim; }
  std::optional<std::uint64_t> rows() const override { return shape_.rows; }
  Element element() const override { return shape_.reported; }
  const std::string& name() const override { return name_; }
  std::size_t read(float* out, std::size_t max_rows) override;
  std::size_t read_ids(idx_t* out, std::size_t max_rows) override;

 protected:
  struct Shape {
    std::size_t dim = 0;
    std::optional<std::uint64_t> rows;  ///< Of the whole source on the way in, of the selected window afterwards.
    Element element = Element::f32;     ///< Of the blocks.
    Element reported = Element::f32;    ///< Of the source; differs where a library converts on the way.
    bool swapped = false;
  };

  /// Stored rows, valid until the next call.
  struct Block {
    const std::byte* first = nullptr;
    std::size_t rows = 0;
    std::size_t stride = 0;  ///< In bytes.
  };

  explicit StoredReader(std::string name) : name_(std::move(name)) {}

  /// To be called once, when the source is open: checks the window against the number of rows.
  void set_shape(const Shape& shape, const ReadOptions& options);
  /// The first row of the window. The derived reader stands there before its first block.
  std::uint64_t first_row() const noexcept { return first_row_; }
  /// The row that comes next, counted from the start of the source.
  std::uint64_t next_row() const noexcept { return next_row_; }
  /// Rows of the window that were not handed out yet.
  std::uint64_t rows_left() const noexcept { return last_row_ - next_row_; }
  /// Between 1 and `max_rows` rows, or none at the end of the source.
  virtual Block next_block(std::size_t max_rows) = 0;

  std::string name_;

 private:
  template <class Convert, class Value>
  std::size_t read_with(Convert convert, Value* out, std::size_t max_rows);

  Shape shape_;
  std::uint64_t first_row_ = 0;
  std::uint64_t next_row_ = 0;
  std::uint64_t last_row_ = 0;  ///< One past the window.
};

/// `dim` as a checked size. `what` names the place for the message.
std::size_t checked_dim(std::int64_t dim, const std::string& name, const std::string& what);

/// a * b, or Error(corrupt) when that does not fit in 63 bits.
std::uint64_t checked_product(std::uint64_t a, std::uint64_t b, const std::string& name);

}  // namespace ivf::datasets

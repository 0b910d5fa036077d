#!/usr/bin/env python3
"""faiss's Python package reads what `ivf export` wrote, and `ivf import` what it wrote. Needs the modules faiss and numpy."""
import faiss
import numpy

from support import IvfTest, main

DIM, ROWS, NEIGHBOURS, PROBES = 16, 2000, 10, 5


class Faiss(IvfTest):
    def setUp(self):
        super().setUp()
        random = numpy.random.default_rng(1)
        self.rows = random.standard_normal((ROWS, DIM), dtype=numpy.float32)
        self.queries = random.standard_normal((50, DIM), dtype=numpy.float32)
        numpy.save(self.path / "rows.npy", self.rows)
        numpy.save(self.path / "queries.npy", self.queries)

    def found(self, index):
        self.ivf("search", index, "queries.npy", "-k", NEIGHBOURS, "--nprobe", PROBES, "-o", "found.npy", "--force", "-q")
        return numpy.load(self.path / "found.npy")

    def assert_same(self, ids, expected):
        # faiss rounds differently: two rows may change places.
        self.assertGreaterEqual((ids == expected).mean(), 0.99)

    def test_python_reads_an_export(self):
        for metric in ("l2", "ip", "cosine"):
            with self.subTest(metric):
                self.ivf("train", "rows.npy", "-o", "a.ivf", "--nlist", 16, "--metric", metric, "--force", "-q")
                self.ivf("add", "a.ivf", "rows.npy", "-q")
                self.ivf("export", "a.ivf", "--faiss", "a.faiss", "--force", "-q")
                index = faiss.read_index(str(self.path / "a.faiss"))
                self.assertEqual((type(index).__name__, index.ntotal, index.nlist), ("IndexIVFFlat", ROWS, 16))
                queries = self.queries.copy()
                if metric == "cosine":
                    faiss.normalize_L2(queries)
                index.nprobe = PROBES
                self.assert_same(self.found("a.ivf"), index.search(queries, NEIGHBOURS)[1])
                self.ivf("reconstruct", "a.ivf", "--ids", f"0-{ROWS - 1}", "-o", "back.npy", "--force", "-q")
                index.make_direct_map()
                back = numpy.load(self.path / "back.npy")
                numpy.testing.assert_array_equal(index.reconstruct_n(0, ROWS).view(numpy.uint32), back.view(numpy.uint32))

    def test_what_python_wrote_is_imported_and_comes_back_the_same(self):
        ids = numpy.arange(ROWS) * 3 + 5
        for kind, metric in (("IVF32,Flat", faiss.METRIC_L2), ("IVF32,Flat", faiss.METRIC_INNER_PRODUCT), ("Flat", faiss.METRIC_L2),
                             ("IDMap,Flat", faiss.METRIC_INNER_PRODUCT), ("IDMap2,Flat", faiss.METRIC_L2)):
            with self.subTest(kind=kind, metric=metric):
                index = faiss.index_factory(DIM, kind, metric)
                index.train(self.rows)
                if kind == "Flat":
                    index.add(self.rows)
                else:
                    index.add_with_ids(self.rows, ids)
                faiss.write_index(index, str(self.path / "b.faiss"))
                self.ivf("import", "--faiss", "b.faiss", "b.ivf", "--force", "-q")
                self.ivf("verify", "b.ivf")
                if kind.startswith("IVF"):
                    index.nprobe = PROBES
                self.assert_same(self.found("b.ivf"), index.search(self.queries, NEIGHBOURS)[1])
                self.ivf("export", "b.ivf", "--faiss", "c.faiss", "--force", "-q")
                same = (self.path / "b.faiss").read_bytes() == (self.path / "c.faiss").read_bytes()
                # An IndexIDMap becomes an IndexIDMap2.
                self.assertEqual(same, not kind.startswith("IDMap,"))


if __name__ == "__main__":
    main()

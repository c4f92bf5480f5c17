#include "cuda/wick/sieve_plan.hpp"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "core/error.hpp"

namespace nnqft::cuda {
namespace {

// Numbers of polynomials at one level.
struct Numbers {
    int singles, squares;
    bool mean;
    int spare;  // intermediate results

    int vertices() const { return singles + squares; }
    int g() const { return 0; }
    int d(int i) const { return 1 + i; }
    int v(int i) const { return 1 + squares + i; }
    // Behind a polynomial that nobody writes: factors are read a little beyond their ends.
    int between(int i) const { return 1 + squares + (mean ? vertices() : 0) + 2 * i + 1; }
    int head() const { return between(spare) - 1; }
    int row(int k) const { return head() + k * (k - 1) / 2; }
    int b(int j, int k) const { return row(std::max(j, k)) + std::min(j, k); }
    int count() const { return row(vertices()); }
};

class Level {
public:
    Level(SieveTables& tables, const Numbers& numbers, int length) : tables_(tables), n_(numbers), length_(length) {
        constexpr int kShortest = 9;  // factors are read 8 numbers at a time, which are to lie in two polynomials at most
        const int stride = std::max(length | 1, kShortest);
        layout_ = {n_.count(), length, stride, n_.count() * stride, 2 * n_.spare, n_.head(), n_.count(), 0, -1, {}};
    }

    void pair(const Numbers& child) {
        const int s = n_.vertices(), q = s - 1, p = q - 1;
        layout_.tail = n_.row(p);
        int product = n_.b(p, q);
        if (n_.mean) {
            stage();
            add(n_.between(0), product, {n_.v(p), n_.v(q)});
            product = n_.between(0);
        }
        stage();
        add(child.g(), n_.g(), {n_.g(), product});
        for (int k = 1; k < p; ++k) {
            for (int j = 0; j < k; ++j) add(child.b(j, k), n_.b(j, k), {n_.b(j, p), n_.b(k, q), n_.b(j, q), n_.b(k, p)});
        }
        for (int j = 0; n_.mean && j < p; ++j) add(child.v(j), n_.v(j), {n_.b(j, p), n_.v(q), n_.b(j, q), n_.v(p)});
    }

    void square(const Numbers& child) {
        const int p = n_.vertices() - 1, left = n_.squares - 1;
        layout_.tail = n_.row(p);
        int product = n_.d(left);
        if (n_.mean) {
            stage();
            add(n_.between(0), product, {n_.v(p), n_.v(p)});
            product = n_.between(0);
        }
        stage();
        add(child.g(), n_.g(), {n_.g(), product});
        for (int i = 0; i < left; ++i) add(child.d(i), n_.d(i), {n_.b(n_.singles + i, p), n_.b(n_.singles + i, p)}, true);
        for (int k = 1; k < p; ++k) {
            for (int j = 0; j < k; ++j) add(child.b(j, k), n_.b(j, k), {n_.b(j, p), n_.b(k, p)}, true);
        }
        for (int j = 0; n_.mean && j < p; ++j) add(child.v(j), n_.v(j), {n_.b(j, p), n_.v(p)}, true);
    }

    // [z^top] g lhaf of the points that are left, four of them or two.
    void closed_form() {
        const auto vertex = [&](int i) { return i < n_.singles ? i : n_.singles + (i - n_.singles) / 2; };
        const auto b = [&](int i, int k) { return vertex(i) == vertex(k) ? n_.d(vertex(i) - n_.singles) : n_.b(vertex(i), vertex(k)); };
        const auto v = [&](int i) { return n_.v(vertex(i)); };
        const int points = n_.singles + 2 * n_.squares;
        layout_.result = points == 0 ? -1 : n_.between(0);
        if (points == 2) {
            if (!n_.mean) {
                layout_.result = b(0, 1);
            } else {
                stage();
                add(n_.between(0), b(0, 1), {v(0), v(1)});
            }
        } else if (points == 4 && !n_.mean) {
            stage();
            add(n_.between(0), kNone, {b(0, 1), b(2, 3), b(0, 2), b(1, 3), b(0, 3), b(1, 2)});
        } else if (points == 4) {
            // lhaf(0123) = b03 w12 + b13 w02 + b23 w01 + v3 lhaf(012), w_jk = b_jk + v_j v_k, lhaf(012) = b01 v2 + b02 v1 + w12 v0
            const int w01 = n_.between(1), w02 = n_.between(2), w12 = n_.between(3), h = n_.between(4), rest = n_.between(5);
            stage();
            add(w01, b(0, 1), {v(0), v(1)});
            add(w02, b(0, 2), {v(0), v(2)});
            add(w12, b(1, 2), {v(1), v(2)});
            stage();
            add(h, kNone, {w12, v(0)});
            stage();
            add(h, h, {b(0, 1), v(2)});
            stage();
            add(h, h, {b(0, 2), v(1)});
            stage();
            add(rest, kNone, {h, v(3)});
            stage();
            add(n_.between(0), rest, {b(0, 3), w12, b(1, 3), w02, b(2, 3), w01});
        }
    }

    void finish() {
        tables_.level.push_back(layout_);
        tables_.multiply_adds.push_back(products_ * 0.5 * length_ * (length_ + 1) + (layout_.result >= 0 ? length_ : 0));
    }

private:
    static constexpr int kNone = static_cast<int>(kNoPolynomial);

    void stage() { layout_.stage[layout_.stages++] = {static_cast<std::int32_t>(tables_.tasks.size()), 0}; }
    void add(int out, int from, std::initializer_list<int> factors, bool twice = false) {
        SieveTask task{static_cast<std::uint32_t>(out) | (twice ? kTwice : 0) | static_cast<std::uint32_t>(from) << 16, {kNoPair, kNoPair, kNoPair}};
        const int* f = factors.begin();
        for (std::size_t i = 0; i < factors.size(); i += 2) task.pair[i / 2] = static_cast<std::uint32_t>(f[i]) | static_cast<std::uint32_t>(f[i + 1]) << 16;
        tables_.tasks.push_back(task);
        ++layout_.stage[layout_.stages - 1].count;
        products_ += static_cast<double>(factors.size() / 2);
    }

    SieveTables& tables_;
    const Numbers n_;
    const int length_;
    SieveLayout layout_;
    double products_ = 0.0;
};

}  // namespace

SieveTables::SieveTables(const SieveShape& shape) {
    constexpr int kMaxVertices = 180, kMaxLevels = 62;  // 2^61 leaves: far beyond what can be waited for
    const int singles = shape.vertices - shape.squares;
    const int points = singles + 2 * shape.squares - 2 * shape.levels;
    if (shape.squares < 0 || singles < 0 || singles % 2 || shape.levels < 0 || points < 0 || points > 4 || (shape.levels > 0 && points != 4))
        throw ArgumentError("no sieve has " + std::to_string(shape.vertices) + " vertices, " + std::to_string(shape.squares) + " of them squares, and " +
                            std::to_string(shape.levels) + " levels");
    if (shape.vertices > kMaxVertices || shape.levels > kMaxLevels)
        throw ArgumentError("a sieve of " + std::to_string(shape.vertices) + " vertices and " + std::to_string(shape.levels) +
                            " levels is out of the reach of a device: at most " + std::to_string(kMaxVertices) + " and " + std::to_string(kMaxLevels));
    const auto numbers = [&](int l) {
        const int squares = std::max(shape.squares - l, 0), pairs = l - std::min(l, shape.squares);
        const int spare = l < shape.levels ? shape.mean : shape.mean ? 6 : 1;
        return Numbers{singles - 2 * pairs, squares, shape.mean, spare};
    };
    for (int l = 0; l <= shape.levels; ++l) {
        const Numbers here = numbers(l);
        Level level(*this, here, l + 1);
        if (l == shape.levels) level.closed_form();
        else if (here.squares > 0) level.square(numbers(l + 1));
        else level.pair(numbers(l + 1));
        level.finish();
    }
}

}  // namespace nnqft::cuda

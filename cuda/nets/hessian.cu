#include "cuda/nets/hessian.hpp"

#include <algorithm>
#include <utility>

#include "cuda/core/launch.hpp"
#include "cuda/nets/fold.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kThreads = 256;

// R of the last deltas: L'' R f, a warp per sample and vector.
template <class T>
__global__ void __launch_bounds__(kThreads) top_kernel(std::int64_t samples, std::int64_t dim, const T* diagonal, const T* rank_one, T sign, const T* matrix,
                                                       const T* rf, T* out) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t s = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32, vector = blockIdx.y;
    if (s >= samples) return;
    const T* const f = rf + (vector * samples + s) * dim;
    T along = 0;
    if (rank_one) {
        for (std::int64_t n = lane; n < dim; n += 32) along = fma(rank_one[s * dim + n], f[n], along);
        for (int half = 16; half > 0; half /= 2) along += __shfl_xor_sync(0xffffffffu, along, half);
        along *= sign;
    }
    for (std::int64_t n = lane; n < dim; n += 32) {
        T x = diagonal ? diagonal[s * dim + n] * f[n] : T(0);
        if (rank_one) x = fma(along, rank_one[s * dim + n], x);
        for (std::int64_t m = 0; matrix && m < dim; ++m) x = fma(matrix[(s * dim + n) * dim + m], f[m], x);
        out[(vector * samples + s) * dim + n] = x;
    }
}

bool in(const LayerMask& mask, int l) { return mask.empty() || mask[static_cast<std::size_t>(l)]; }

}  // namespace

template <class T>
NetHessian<T>::NetHessian(Network net, std::int64_t samples, const LossParts& loss, bool gauss_newton, double decay, const T* theta, const T* cache,
                          const T* constant, int multiprocessors)
    : net_(std::move(net)), loss_(loss), gauss_newton_(gauss_newton), decay_(decay), theta_(theta), cache_{cache, samples},
      constant_(gauss_newton ? nullptr : constant), multiprocessors_(multiprocessors) {
    check_limits(net_, samples);
}

template <class T>
std::int64_t NetHessian<T>::size(const LayerMask& mask) const {
    std::int64_t size = 0;
    for (int l = 0; l < net_.depth(); ++l)
        if (in(mask, l)) size += net_.place(l).end - net_.place(l).begin;
    return size;
}

// Where R of everything lies in the workspace: matrices (vectors, samples, width).
template <class T>
struct NetHessian<T>::Places {
    std::vector<std::int64_t> rz, rh, rd;
    std::int64_t re[2], rf, line[3], slabs, size = 0, n_slabs;
    std::int64_t directions = -1, product = -1;  // of fold.hpp: A; A^T g, and later l' Rh_m + r h_m
    std::int64_t slab, apart = -1;               // numbers of a slab; where Q lies in it if Hv has no place for it

    Places(const NetHessian& h, std::int64_t vectors, const LayerMask& rows) {
        const Network& net = h.net_;
        const std::int64_t matrix = vectors * h.cache_.samples, n = h.size(rows);
        const auto take = [&](std::int64_t count) { return std::exchange(size, size + (count + 31) / 32 * 32); };
        const int m = net.folded();
        bool skips = false;
        for (int l = 0; l < net.depth(); ++l) {
            const NetLayer& layer = net.layers()[static_cast<std::size_t>(l)];
            const bool passed = m < 0 || l < m;  // else folded
            rz.push_back(net.place(l).curve < 0 ? -1 : take(matrix * layer.out));
            rh.push_back(l == 0 || !(passed || l == m) ? -1 : take(matrix * layer.in));
            rd.push_back(passed || l == net.depth() - 1 ? take(matrix * layer.out) : -1);
            skips = skips || layer.skip != 0.0;
        }
        slab = n;
        if (m >= 0) {
            const NetLayer& layer = net.layers()[static_cast<std::size_t>(m)];
            directions = take(vectors * layer.weights());
            product = h.top() ? take(matrix * layer.in) : -1;
            if (!in(rows, m) && in(rows, m + 1)) apart = std::exchange(slab, n + net.place(m).end - net.place(m).begin);
        }
        for (std::int64_t& place : re) place = skips ? take(matrix * net.width_max()) : -1;
        rf = h.top() ? take(matrix * net.dim_out()) : -1;
        for (std::int64_t& place : line) place = take(matrix);
        n_slabs = net_slabs(net.size(), h.cache_.samples);
        slabs = take(vectors * n_slabs * slab);
    }
};

template <class T>
std::int64_t NetHessian<T>::workspace_size(std::int64_t together, const LayerMask& rows) const {
    return Places(*this, together, rows).size;
}

// One group of vectors on its way through the net.
template <class T>
struct NetHessian<T>::Batch {
    const NetHessian& h;
    const LayerMask &rows, &columns;
    const Places places;
    std::int64_t vectors, n_in, n_out;
    int lowest;  // of the layers of Hv
    const T* X;
    T* workspace;
    cudaStream_t stream;
    cudaError_t status = cudaSuccess;
    std::vector<std::int64_t> from, to;  // where layers begin in a vector of X and of Y; -1: not there
    std::vector<char> moves;             // Rh of the input of layer l is not zero
    std::vector<const T*> rd;            // null: zero

    const NetLayer& layer(int l) const { return h.net_.layers()[static_cast<std::size_t>(l)]; }
    const LayerPlace& place(int l) const { return h.net_.place(l); }
    static std::size_t at(int l) { return static_cast<std::size_t>(l); }
    T* work(std::int64_t place) const { return place < 0 ? nullptr : workspace + place; }
    const T* kept(std::int64_t row) const { return h.cache_.at(row); }
    std::int64_t own(std::int64_t width) const { return h.cache_.samples * width; }  // of one vector
    const T* V(int l) const { return X + from[at(l)]; }
    const T* W(int l) const { return h.theta_ + place(l).begin; }
    Product<T> product(std::int64_t width, bool turned) const {
        Product<T> p;
        p.samples = h.cache_.samples;
        p.width = width;
        p.vectors = vectors;
        p.turned = turned;
        return p;
    }
    void dots(std::int64_t width, const T* a, std::int64_t a_batch, const T* b, std::int64_t b_batch, double scale, T* line) {
        if (status == cudaSuccess) status = row_dots(vectors, h.cache_.samples, width, a, a_batch, b, b_batch, static_cast<T>(scale), line, stream);
    }
    void multiply(const Product<T>& p) {
        if (status == cudaSuccess) status = cuda::multiply(p, h.multiprocessors_, stream);
    }

    bool folds() const { return h.net_.folded() >= 0; }
    bool asked() const { return from.back() >= 0 || from[at(h.net_.folded())] >= 0; }  // A is not zero
    LastShape last_shape() const { return {layer(h.net_.folded()).out, layer(h.net_.folded()).in}; }
    // Of the parameters, or of the vectors from `first` on, whose layers begin at begin_m and begin_last (-1: not there).
    LastLayers<T> last_layers(const T* first, std::int64_t begin_m, std::int64_t begin_last, std::int64_t batch) const {
        const NetLayer &hidden = layer(h.net_.folded()), &last = layer(h.net_.folded() + 1);
        LastLayers<T> parts;
        if (begin_m >= 0) parts.matrix = first + begin_m, parts.biases = hidden.bias ? parts.matrix + hidden.weights() : nullptr;
        if (begin_last >= 0) parts.last = first + begin_last, parts.offset = last.bias ? parts.last + last.weights() : nullptr;
        parts.batch = batch;
        return parts;
    }
    LastLayers<T> last_weights() const { return last_layers(h.theta_, place(h.net_.folded()).begin, place(h.net_.folded() + 1).begin, 0); }
    LastLayers<T> last_directions() const { return last_layers(X, from[at(h.net_.folded())], from.back(), n_in); }

    // A, and R of the output.
    bool folded_outputs(bool moving) {
        const int m = h.net_.folded();
        const LastShape shape = last_shape();
        if (asked() && (h.top() || lowest < m) && status == cudaSuccess)
            status = fold_directions(shape, last_weights(), last_directions(), vectors, work(places.directions), stream);
        if (h.top() && (asked() || moving)) {
            T* const product = asked() ? work(places.product) : nullptr;
            if (product) multiply(folded_product(place(m).gate, product));
            if (status == cudaSuccess)
                status = fold_outputs<T>(shape, last_weights(), last_directions(), vectors, h.cache_.samples, product, kept(place(m).input), kept(place(m).slope),
                                         moving ? work(places.rh[at(m)]) : nullptr, kept(place(m).gate), work(places.rf), stream);
        }
        return asked() || moving;
    }
    // Of the gates, or of D, with A.
    Product<T> folded_product(std::int64_t row, T* out) const {
        const NetLayer& hidden = layer(h.net_.folded());
        Product<T> p = product(hidden.in, true);
        p.term[0] = {{kept(row), hidden.out, 0}, {work(places.directions), hidden.in, hidden.weights()}, hidden.out};
        p.out = out;
        return p;
    }

    // From Re_m = A^T D + r E to Rd below; its raw values if the layer below has a skip.
    const T* folded_back() {
        const int m = h.net_.folded();
        const LayerPlace& below = place(m - 1);
        const T* const r = rd.back();
        const bool direct = !h.gauss_newton_ && asked(), curved = !h.gauss_newton_ && below.curve >= 0 && moves[at(m)];
        if (!direct && !r && !curved) return nullptr;
        T *const raw = layer(m - 1).skip != 0.0 ? work(places.re[m % 2]) : nullptr, *const out = work(places.rd[at(m - 1)]);
        const T *const curve = curved ? kept(below.curve) : nullptr, *const other = curved ? work(places.rz[at(m - 1)]) : nullptr;
        if (r) {  // A^T g is there
            const T* const line = kept(place(m + 1).delta);
            const Combination<T> c = {h.cache_.samples, layer(m).in, vectors, line, direct ? work(places.product) : nullptr, r, kept(place(m).slope),
                                      kept(below.gate), curve, other, raw, out};
            if (status == cudaSuccess) status = combine(c, stream);
        } else {
            Product<T> p = folded_product(place(m).gated, out);
            if (!direct) p.term[0] = {};
            p.finish.gate = kept(below.gate);
            p.finish.curve = curve, p.finish.other = other;
            p.finish.raw = raw;
            multiply(p);
        }
        rd[at(m - 1)] = out;
        return raw;
    }

    // What the sums over samples Q, q and that of r are made of. Where Q lies in a slab; -1: it is zero, or not asked for.
    std::int64_t folded_sums(std::vector<Outer<T>>& outers, std::vector<Segment>& segments) {
        const int m = h.net_.folded();
        const NetLayer &hidden = layer(m), &last = layer(m + 1);
        const std::int64_t samples = h.cache_.samples, begin = to[at(m)] >= 0 ? to[at(m)] : places.apart;
        const T *const r = rd.back(), *const r_input = !h.gauss_newton_ && moves[at(m)] ? work(places.rh[at(m)]) : nullptr;
        T* const slabs = work(places.slabs);
        if (to.back() >= 0 && last.bias) {
            const std::int64_t offset = last.weights();
            if (r) outers.push_back({1, 0, true, {{{r, 1, samples}, {r, 1, 0}, samples, true}, {}}, slabs + to.back() + offset});
            segments.push_back({to.back() + offset, from.back() < 0 ? -1 : from.back() + offset, 1, r != nullptr});
        }
        if (begin < 0 || (!r && !r_input)) return -1;
        const Matrix<T> left = {kept(r ? place(m).gate : place(m).gated), hidden.out, 0};
        Matrix<T> right = {r_input, hidden.in, own(hidden.in)};
        if (r) {
            T* const both = work(places.product);
            const Combination<T> c = {samples, hidden.in, vectors, kept(place(m + 1).delta), r_input, r, kept(place(m).input), nullptr, nullptr, nullptr, nullptr, both};
            if (status == cudaSuccess) status = combine(c, stream);
            right.data = both;
            if (hidden.bias) outers.push_back({hidden.out, 1, false, {{left, {r, 1, samples}, samples, false}, {}}, slabs + begin + hidden.weights()});
        }
        outers.push_back({hidden.out, hidden.in, false, {{left, right, samples, false}, {}}, slabs + begin});
        return begin;
    }
    void unfolded(std::int64_t q, T* Y) {
        const int m = h.net_.folded();
        if (to[at(m)] < 0 && to.back() < 0) return;
        Unfolding<T> u;
        u.shape = last_shape();
        u.w = last_weights();
        u.v = last_directions();
        u.vectors = vectors;
        u.slabs = q < 0 ? nullptr : work(places.slabs) + q;
        u.biased = rd.back() != nullptr;
        u.n_slabs = places.n_slabs;
        u.slab_stride = places.slab;
        u.batch = places.n_slabs * places.slab;
        u.constant = h.constant_;
        u.decay = static_cast<T>(h.decay_);
        u.matrix = to[at(m)] < 0 ? nullptr : Y + to[at(m)];
        u.last = to.back() < 0 ? nullptr : Y + to.back();
        u.out_batch = n_out;
        if (status == cudaSuccess) status = unfold(u, stream);
    }

    bool forward() {
        const int depth = h.net_.depth(), last = folds() ? h.net_.folded() : h.top() ? depth : depth - 1;
        bool moving = false;
        moves.assign(at(depth), 0);
        for (int l = 0; l < last; ++l) {
            const NetLayer& here = layer(l);
            const T *const hl = kept(place(l).input), *const rh = work(places.rh[at(l)]);
            moves[at(l)] = moving;
            if (from[at(l)] < 0 && !moving) continue;
            Product<T> p = product(here.out, false);
            if (from[at(l)] >= 0) {
                p.term[0] = {{hl, here.in, 0}, {V(l), here.in, n_in}, here.in};
                if (here.bias) p.finish.bias = V(l) + here.in * here.out, p.finish.bias_batch = n_in;
            }
            if (moving) {
                p.term[1] = {{rh, here.in, own(here.in)}, {W(l), here.in, 0}, here.in};
                if (here.normaliser != 0.0) {
                    dots(here.in, rh, own(here.in), hl, 0, -2.0 * here.normaliser, work(places.line[0]));
                    p.finish.line = work(places.line[0]);
                }
                if (here.skip != 0.0) p.finish.after = rh, p.finish.after_scale = static_cast<T>(here.skip);
            }
            p.finish.gate = kept(place(l).gate);
            p.finish.raw = work(places.rz[at(l)]);
            p.out = work(l + 1 < depth ? places.rh[at(l + 1)] : places.rf);
            multiply(p);
            moving = true;
        }
        if (last < depth) moves[at(last)] = moving;
        return folds() ? folded_outputs(moving) : moving;
    }

    void top() {
        const std::int64_t dim = h.net_.dim_out(), samples = h.cache_.samples;
        const T* next = kept(h.net_.rows());
        const T *const diagonal = h.loss_.diagonal ? std::exchange(next, next + samples * dim) : nullptr,
                *const rank_one = h.loss_.rank_one ? std::exchange(next, next + samples * dim) : nullptr, *const matrix = h.loss_.matrix ? next : nullptr;
        T* const out = work(places.rd.back());
        Launch grid;
        grid.blocks = static_cast<unsigned>((32 * samples + kThreads - 1) / kThreads);
        grid.blocks_y = static_cast<unsigned>(vectors);
        grid.threads = kThreads;
        grid.stream = stream;
        if (status == cudaSuccess)
            status = launch(grid, top_kernel<T>, samples, dim, diagonal, rank_one, static_cast<T>(h.loss_.sign), matrix, static_cast<const T*>(work(places.rf)), out);
        rd.back() = out;
    }

    void backward() {
        const T* re = folds() && lowest < h.net_.folded() ? folded_back() : nullptr;
        for (int l = folds() ? h.net_.folded() - 1 : h.net_.depth() - 1; l > lowest; --l) {
            const NetLayer& here = layer(l);
            const LayerPlace& below = place(l - 1);
            const bool residual = !h.gauss_newton_;
            const bool turned_v = residual && from[at(l)] >= 0, curved = residual && below.curve >= 0 && moves[at(l)];
            const T *const hl = kept(place(l).input), *const rh = work(places.rh[at(l)]), *const delta = kept(place(l).delta);
            Product<T> p = product(here.in, true);
            if (turned_v) p.term[0] = {{delta, here.out, 0}, {V(l), here.in, n_in}, here.out};
            if (rd[at(l)]) p.term[1] = {{rd[at(l)], here.out, own(here.out)}, {W(l), here.in, 0}, here.out};
            bool moved = turned_v || rd[at(l)];
            if (here.skip != 0.0 && re) {
                p.finish.before = re;
                p.finish.before_scale = static_cast<T>(here.skip);
                moved = true;
            }
            if (here.normaliser != 0.0 && rd[at(l)]) {
                dots(here.out, rd[at(l)], own(here.out), nullptr, 0, -2.0 * here.normaliser, work(places.line[1]));
                p.finish.line_of[0] = work(places.line[1]);
                p.finish.of[0] = hl;
                moved = true;
            }
            if (here.normaliser != 0.0 && residual && moves[at(l)]) {
                dots(here.out, delta, 0, nullptr, 0, -2.0 * here.normaliser, work(places.line[2]));
                p.finish.line_of[1] = work(places.line[2]);
                p.finish.of[1] = rh;
                moved = true;
            }
            if (curved) p.finish.curve = kept(below.curve), p.finish.other = work(places.rz[at(l - 1)]);
            if (!moved && !curved) {
                re = nullptr;
                continue;
            }
            p.finish.gate = kept(below.gate);
            T* const raw = layer(l - 1).skip != 0.0 ? work(places.re[l % 2]) : nullptr;
            p.finish.raw = raw;
            T* const out = work(places.rd[at(l - 1)]);
            p.out = out;
            multiply(p);
            re = raw;
            rd[at(l - 1)] = out;
        }
    }

    void sums(T* Y) {
        T* const slabs = work(places.slabs);
        std::vector<Outer<T>> outers;
        std::vector<Segment> segments;
        for (int l = 0; l < (folds() ? h.net_.folded() : h.net_.depth()); ++l) {
            if (to[at(l)] < 0) continue;
            const NetLayer& here = layer(l);
            Outer<T> o = {here.out, here.in, here.bias, {}, slabs + to[at(l)]};
            if (rd[at(l)]) o.term[0] = {{rd[at(l)], here.out, own(here.out)}, {kept(place(l).input), here.in, 0}, h.cache_.samples, true};
            if (!h.gauss_newton_ && moves[at(l)])
                o.term[1] = {{kept(place(l).delta), here.out, 0}, {work(places.rh[at(l)]), here.in, own(here.in)}, h.cache_.samples, false};
            const bool made = o.term[0].a.data || o.term[1].a.data;
            if (made) outers.push_back(o);
            segments.push_back({to[at(l)], from[at(l)], place(l).end - place(l).begin, made});
        }
        const std::int64_t q = folds() ? folded_sums(outers, segments) : -1;
        const auto groups = [&](std::size_t size, const auto& body) {
            for (std::size_t first = 0; first < size && status == cudaSuccess; first += kOuters) status = body(first, static_cast<int>(std::min<std::size_t>(kOuters, size - first)));
        };
        groups(outers.size(), [&](std::size_t first, int count) {
            return outer(outers.data() + first, count, h.cache_.samples, places.n_slabs, vectors, places.n_slabs * places.slab, places.slab, h.multiprocessors_, stream);
        });
        groups(segments.size(), [&](std::size_t first, int count) {
            return add_slabs(segments.data() + first, count, vectors, n_out, places.slab, n_in, places.n_slabs, static_cast<T>(h.decay_), slabs, X, Y, stream);
        });
        if (folds()) unfolded(q, Y);
    }
};

template <class T>
cudaError_t NetHessian<T>::apply(const T* X, T* Y, std::int64_t vectors, const LayerMask& rows, const LayerMask& columns, std::int64_t together, T* workspace,
                                 cudaStream_t stream) const {
    std::vector<std::int64_t> from, to;
    std::int64_t n_in = 0, n_out = 0;
    int lowest = net_.depth();
    for (int l = 0; l < net_.depth(); ++l) {
        const std::int64_t length = net_.place(l).end - net_.place(l).begin;
        from.push_back(in(columns, l) ? std::exchange(n_in, n_in + length) : -1);
        to.push_back(in(rows, l) ? std::exchange(n_out, n_out + length) : -1);
        if (in(rows, l)) lowest = std::min(lowest, l);
    }
    const Places places(*this, together, rows);
    cudaError_t status = cudaSuccess;
    for (std::int64_t first = 0; first < vectors && status == cudaSuccess && n_out > 0; first += together) {
        Batch batch{*this,   rows, columns, places, std::min(together, vectors - first), n_in, n_out, lowest, X + first * n_in, workspace, stream, cudaSuccess, from, to, {},
                    std::vector<const T*>(static_cast<std::size_t>(net_.depth()), nullptr)};
        const bool moves = batch.forward();
        if (top() && moves) batch.top();
        batch.backward();
        batch.sums(Y + first * n_out);
        status = batch.status;
    }
    return status;
}

template class NetHessian<float>;
template class NetHessian<double>;

}  // namespace nnqft::cuda

// GELU without division or exponential, in both forms:
//
//   erf    x · (1 + erf(x / √2)) / 2
//   tanh   x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2
//
// Either is x · (1/2 + x·Q(x²)) with a smooth Q. Q is a polynomial in t = 2x²/c² - 1, the best for
// the largest error of the GELU on |x| <= c, with the exact value at c; beyond, x is x or 0 to within
// rounding. Errors: at most 2e-6·max(1, |x|) with 13 coefficients, 1e-4·max(1, |x|) with 8, less than
// what rounding to bfloat16 or int8 does to the result. The derivative is 1/2 + x·D(x²) with a D of
// the same kind: at most 5e-6 away with 14 coefficients, 5e-4 with 8, a quarter of what rounding to
// bfloat16 does near 1. The short ones end where the short values do, so that both share t.
// mlpmixer/kernels/gelu_fit.py finds the coefficients.
#pragma once

namespace {

struct ExactGelu {
    static constexpr float end = 5.2f;
    static constexpr float coefficients[] = {
        0.13594992458820343f,   -0.06774340569972992f,  0.05003020912408829f,
        -0.0399412102997303f,   0.03190666809678078f,   -0.024594062939286232f,
        0.01839023269712925f,   -0.013101471588015556f, 0.007550795562565327f,
        -0.0035079973749816418f, 0.0028609365690499544f, -0.0025027235969901085f,
        0.0008559411508031189f};
};
struct ExactTanhGelu {
    static constexpr float end = 5.0f;
    static constexpr float coefficients[] = {
        0.1413785070180893f,    -0.07036593556404114f,  0.05165766179561615f,
        -0.040538936853408813f, 0.03134048730134964f,   -0.02303198166191578f,
        0.01607292890548706f,   -0.010435053147375584f, 0.005710868164896965f,
        -0.0030629478860646486f, 0.0026871110312640667f, -0.0020363156218081713f,
        0.0006236035842448473f};
};
struct ShortGelu {
    static constexpr float end = 4.2f;
    static constexpr float coefficients[] = {
        0.16785456240177155f,  -0.08157147467136383f,  0.05594870448112488f,
        -0.03792617470026016f, 0.023777756839990616f,  -0.016467224806547165f,
        0.011175720021128654f, -0.0037442443426698446f};
};
struct ShortTanhGelu {
    static constexpr float end = 4.0f;
    static constexpr float coefficients[] = {
        0.17600828409194946f,  -0.08448491245508194f,  0.055917706340551376f,
        -0.03578903526067734f, 0.021423108875751495f,  -0.014068913646042347f,
        0.008392030373215675f, -0.0023982664570212364f};
};

struct GeluSlope {
    static constexpr float end = 5.4f;
    static constexpr float coefficients[] = {
        0.13120094173989499f,  -0.067309389722829599f, 0.055667118865306023f,
        -0.056865012140819279f, 0.065271212532014705f, -0.071923346289234469f,
        0.069304036673205144f, -0.07392713871205206f,  0.084457519650420074f,
        -0.052069357005093193f, 0.004581810389762641f, -0.015392635078699438f,
        0.034748695062751044f, -0.015151863372033671f};
};
struct TanhGeluSlope {
    static constexpr float end = 5.2f;
    static constexpr float coefficients[] = {
        0.13632598849107797f,  -0.07057743284995005f,  0.060426211516011019f,
        -0.064827177327019814f, 0.075192008020222162f, -0.080862583081332276f,
        0.07707258809438533f,  -0.07363158862816413f,  0.064188988412147624f,
        -0.029187287037749234f, 0.0041067834870425774f, -0.020716152346946112f,
        0.029710395960086896f, -0.011066896555965921f};
};

struct ShortGeluSlope {
    static constexpr float end = 4.2f;
    static constexpr float coefficients[] = {
        0.17256948491632204f,  -0.10323922958720651f, 0.10791199408654641f,
        -0.10590036480174932f, 0.074294802799353854f, -0.080565492995718385f,
        0.1027562726543088f,   -0.048779848024237835f};
};
struct ShortTanhGeluSlope {
    static constexpr float end = 4.0f;
    static constexpr float coefficients[] = {
        0.18307635048901344f,  -0.11436340469882432f, 0.11994890143910578f,
        -0.11457714098899929f, 0.076544694199844346f, -0.067851522741192147f,
        0.081368356501509587f, -0.039146234200457618f};
};

// 1/2 + x·P(x²), as a form's polynomial has it, of several vectors, a coefficient at a time: their
// chains of additions overlap.
template <class Form, int COUNT>
inline __attribute__((always_inline)) void halves_and_odds(const F (&x)[COUNT], F (&out)[COUNT]) {
    constexpr int count = sizeof(Form::coefficients) / sizeof(float);
    F inner[COUNT], t[COUNT];
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; ++v) {
        inner[v] = lower(higher(x[v], all(-Form::end)), all(Form::end));
        t[v] = fma(inner[v] * inner[v], all(2 / (Form::end * Form::end)), all(-1.0f));
        out[v] = all(Form::coefficients[count - 1]);
    }
#pragma GCC unroll 16
    for (int i = count - 2; i >= 0; --i)
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) out[v] = fma(out[v], t[v], all(Form::coefficients[i]));
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; ++v) out[v] = fma(inner[v], out[v], all(0.5f));
}

}  // namespace

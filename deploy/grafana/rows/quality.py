"""What the networks gain."""

from panels import AT, graph, rate

ROW = (
    "Quality",
    [
        graph(
            "Segments by what enlarged them",
            "The tier of the network, or plain.",
            [(rate("acuity_enhancer_segments_total", by="made_by, tier"), "{{made_by}} {{tier}}")],
            "ops",
            stacked=True,
        ),
        graph(
            "Why not a better tier",
            "best: there is none better. haste: a start or a seek. deadline, crowd and reserve: no time.",
            [(rate("acuity_enhancer_choices_total", by="why"), "{{why}}")],
            "ops",
            stacked=True,
        ),
        graph(
            "Gain that the guard measured",
            "Mean luma PSNR of specialised models over the generic one and over plain scaling, against the origin's own high rendition. Empty while guard.rate is 0.",
            [(f"acuity_guard_gain_db{{{AT}}}", "{{cluster}} x{{scale}} {{tier}} over {{over}}")],
            "dB",
            least=None,
        ),
        graph(
            "Checks of the guard by outcome",
            "won and lost are verdicts; the rest says why nothing could be compared.",
            [(rate("acuity_guard_checks_total", by="outcome") + " > 0", "{{outcome}}")],
            "ops",
        ),
        graph(
            "Pictures between pictures",
            "By what is seen there; made are those of the interpolator. Empty where no route has [route.frame_rate].",
            [(rate("acuity_enhancer_between_frames_total", by="shown"), "{{shown}}")],
            "ops",
        ),
        graph(
            "Pictures held",
            "Repeated because the source's own could not be decoded.",
            [(rate("acuity_enhancer_held_frames_total"), "held")],
            "ops",
        ),
    ],
)

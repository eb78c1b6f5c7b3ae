"""The texts that the report shows with its tables and figures."""

TITLE = "Explosive prompts: reparameterised prompts, their norms, one broadcast vector"
LEAD = (
    "The tables and figures of EPT: Explosive Prompt Tuning (anonymous EMNLP submission), computed "
    "from prompts trained here and compared with the printed numbers. Those are of T5, and need not "
    "agree for another model, other tasks or fewer steps. Added: the control that the paper lacks, "
    "plain prompts at the same norms."
)
CAPTIONS = {
    "claims": (
        "The claims over tasks (findings.csv has them for each task). A number above zero "
        "supports the claim; holds: the whole 95 % interval is above zero."
    ),
    "parameters": (
        "How many numbers each method trains, by formula and as printed. The paper "
        "truncates digits instead of rounding."
    ),
    "means": "Test scores in per cent, means over seeds, all methods at one learning rate.",
    "own_rates": "The same scores with each method at its own best learning rate, chosen on validation records.",
    "baselines": "Other methods (Table 4), trained by PEFT and transformers on copies of the model with the same "
    "records in the same batches.",
    "figure_2": "Figures 2 and 11: mean L2 norm of the prompt's vectors (eq. 4) along training.",
    "figure_2_score": "Figures 2 and 11: validation score along training.",
    "figure_3_pt": "Figure 3: how similar are the vectors of a prompt?",
    "figure_3_p_tuning": "Figure 3, P-Tuning.",
    "figure_3_resprompt": "Figure 3, ResPrompt.",
    "redundancy": "How similar the vectors of a prompt are, compared with random vectors of the same norms.",
    "figure_4": "Figure 4: one trained vector, the longest, repeated; 0 = the whole prompt.",
    "figure_5": "Figures 5 and 12: hidden units of EPT's network.",
    "figure_7": "Figure 7: length of the broadcast prompt.",
    "figure_8": "Figure 8: learning rates.",
    "figure_9": "Figure 9: what layer norm, residual connection and non-linearities do to score and norm.",
    "figure_10_cosine": "Figure 10, left: cosine of the tasks' EPT* vectors.",
    "figure_10_transfer": "Figure 10, right: score of the row's prompt on the column's task, over its own prompt's.",
    "transfer_correlation": (
        "Do prompts transfer better between tasks with similar vectors? Pearson's r "
        "over pairs of tasks; p: by permutation of the tasks."
    ),
    "control": "Plain one-token prompts started in a random direction at EPT's norm, at the common rate and at one "
    "scaled with the norm.",
    "swaps": "Trained one-token prompts whose norms were exchanged, without further training.",
    "steps": "How far a step moves EPT's vector, in units of a plain prompt's step: predicted by "
    "|s| sqrt(d) + |u| (|p| + |d|) of the two linear maps, and measured.",
    "step_length": "The previous table as a figure.",
    "few_shot": "Table 3: few-shot draws, the same number of each class; means over draws.",
    "starts": "Table 6: initialisations of EPT's vector.",
    "failed": "Runs that failed.",
}
"""Name of a table or figure -> what it shows."""

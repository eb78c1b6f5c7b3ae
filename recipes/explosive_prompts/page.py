"""What the report says with its tables and figures."""

TITLE = "Explosive prompts: reparameterised prompts, their norms, one broadcast vector"
LEAD = (
    "The tables and figures of EPT: Explosive Prompt Tuning (anonymous EMNLP submission), computed from prompts "
    "trained here, with the printed numbers, which are of T5: with another model, other tasks or fewer steps they "
    "need not agree. Added: the control that the paper lacks, plain prompts at the same norms."
)
CAPTIONS = {
    "claims": "The claims over tasks; by task they are in findings.csv. A number above zero speaks for the claim; "
    "holds: the whole 95 % interval lies above zero.",
    "parameters": "Trained numbers from formulas, and the printed ones. The paper cuts digits off.",
    "means": "Test scores in per cent, means over seeds, all methods at one learning rate.",
    "own_rates": "The same at each method's own best rate, chosen on validation records.",
    "baselines": "Other methods (Table 4), trained by PEFT and transformers on copies of the model with the same "
    "records in the same batches.",
    "figure_2": "Figures 2 and 11: mean L2 norm of the prompt's vectors (eq. 4) along training.",
    "figure_2_score": "Figures 2 and 11: validation score along training.",
    "figure_3_pt": "Figure 3: are the vectors of a prompt alike?",
    "figure_3_p_tuning": "Figure 3, P-Tuning.",
    "figure_3_resprompt": "Figure 3, ResPrompt.",
    "redundancy": "How alike the vectors of a prompt are, compared with random vectors of the same norms.",
    "figure_4": "Figure 4: one trained vector, the longest, repeated; 0 = the whole prompt.",
    "figure_5": "Figures 5 and 12: hidden units of EPT's network.",
    "figure_7": "Figure 7: length of the broadcast prompt.",
    "figure_8": "Figure 8: learning rates.",
    "figure_9": "Figure 9: what layer norm, residual connection and non-linearities do to score and norm.",
    "figure_10_cosine": "Figure 10, left: cosine of the tasks' EPT* vectors.",
    "figure_10_transfer": "Figure 10, right: score of the row's prompt on the column's task, over its own prompt's.",
    "transfer_correlation": "Do similar vectors transfer? Pearson's r over pairs of tasks; p: tasks reordered.",
    "control": "Plain one-token prompts started in a random direction at EPT's norm, at the common rate and at one "
    "scaled with the norm.",
    "swaps": "Trained one-token prompts with norms exchanged, without further training.",
    "steps": "How far a step moves EPT's vector, in units of a plain prompt's step: predicted by "
    "|s| sqrt(d) + |u| (|p| + |d|) of the two linear maps, and measured.",
    "step_length": "The same as a picture.",
    "few_shot": "Table 3: few-shot draws, the same number of each class; means over draws.",
    "starts": "Table 6: where EPT's vector starts.",
    "failed": "Runs that failed.",
}
"""Name of a table or figure -> what it shows."""

"""The texts of the report."""

TITLE = "Prompt geometry: where soft prompts lie in embedding space"
LEAD = (
    "The tables and figures of Are soft prompts actually not interpretable? (Bakalova), computed from prompts trained "
    "here, with the printed numbers, which are of GPT2-XL: with another model or fewer epochs they need not agree. "
    "The authors published no prompts."
)
CAPTIONS = {
    "claims": "The paper's claims by task, then over tasks, each a number that is above zero where it is right: of "
    "pairs of other runs (fixed), and as the authors' code averages (paper code). holds: the whole 95 % interval (over "
    "words, over tasks) lies above zero, and where training is claimed to have done it, that of the difference to the "
    "same prompts before training too; size is that difference in units of the null.",
    "published_as_compared": "Printed numbers, and the same less what they count twice: a vector with itself, initial "
    "words. Without --paper-code the latter are what is compared.",
    "word_or_task": "Prompts of one word start at one point. How long do they stay closer to each other than prompts "
    "of one task?",
    "kinds_of_pairs": "Mean cosine distance by what two vectors have in common. Tables 1 and 2 both hold the pairs of "
    "one run, which share word and task. Of the trained vectors, and of the steps that training added to their starts.",
    "factors": "Do runs of the same word (task) lie closer than runs whose words (tasks) were shuffled within each "
    "task (word)? Of the trained vectors, and of the steps.",
    "accuracy": "Test accuracy (the greedy continuation starts with the label) and loss of the last prompts: means "
    "over initial words, with the lowest and the highest; untrained: accuracy of the prompts before training; frozen: "
    "of the model without a prompt.",
    "figures_1_and_2": "On the test split.",
    "where_prompts_move": "From the start to the end of training; every vector is in trajectories.csv.",
    "figure_3": "Figure 3: average cosine distance between the positions of a run, between tasks at one word and "
    "position, between words at one task and position.",
    "figure_5": "Figure 5: the same in L2.",
    "figure_4_tsne_by_word": "Figure 4, left: all trained vectors, t-SNE, coloured by initial word. Hover for task, "
    "word, position and nearest tokens.",
    "figure_4_tsne_by_task": "Figure 4, right: the same picture coloured by task.",
    "pca_by_word": "The same vectors in the two directions of largest variance.",
    "pca_by_task": "The same picture coloured by task.",
    "umap_by_word": "The same vectors by UMAP.",
    "umap_by_task": "The same picture coloured by task.",
    "projections": "Trustworthiness of each picture: how far its neighbours are neighbours in the full space; 1 = all, "
    "about 0.5 = a random picture.",
    "clusters": "Silhouette (cosine), and with shuffled labels: 1 = tight clusters, 0 = none. Vectors of one run start "
    "alike, so that shuffling vectors is too easy a null for words; factors, above, shuffles runs.",
    "correlation_summary": "Do distances between the vectors of one word agree with those of another? naive_p takes "
    "the distances as independent; mantel_p reorders vectors, within_position_p only within positions. Every two words "
    "are in correlations.csv.",
    "neighbourhoods": "Section 3.2.1: mean numbers of neighbours within the epsilon that suits tokens, the one that "
    "suits prompts, and the paper's 0.7. expected: as many, were neighbours drawn at random from all prompts.",
    "closest": "Section 3.2.3: mean cosine distance to the closest other vector.",
    "task_neighbours": "How often vectors of each task lie around those of each other.",
    "norms": "L2 norms, and how many directions the vectors use (effective rank).",
    "wayward": "Prompts that were held near an unrelated text while they learned their tasks (Khashabi et al. 2022): "
    "do they solve them there? at_text: share of positions whose nearest token is the text's.",
    "reading_summary": "Readings of the prompt and of random, untrained and wayward ones. "
    "n_beat of n have p <= .05, not corrected: 5 % of them do where there is nothing. Patchscopes: subject = share of "
    "the words that a description of the task would use; answers = does it name a label of the task; control = the "
    "same of a prompt made of the tokens of real labels; unpatched = of bare placeholders.",
    "description_match": "Patchscopes: do descriptions name the subject (the answers) of their own prompt's task "
    "(matched) more than those of the other tasks (mismatched)?",
    "best_descriptions": "What the model writes for each prompt, for its wayward and untrained ones and for a random "
    "one: of each grid of layers the cell that names most of the task, and how often it wrote that. All cells are in "
    "descriptions.csv.",
}
"""Name of a table or figure -> what it shows."""

HEADINGS = {
    "Word or task": "Same word or same task, along training",
    "Factors": "Word and task as factors",
    "Figure 4 tsne by word": "Figure 4: t-SNE by word",
    "Figure 4 tsne by task": "Figure 4: t-SNE by task",
    "Pca by word": "PCA by word",
    "Pca by task": "PCA by task",
    "Umap by word": "UMAP by word",
    "Umap by task": "UMAP by task",
    "Projections": "How far to trust the pictures",
    "Clusters": "Silhouettes",
    "Correlation summary": "Do the words' geometries agree?",
    "Neighbourhoods": "What lies around prompts and tokens",
    "Closest": "Distance to the closest",
    "Task neighbours": "Table 3 as a picture",
    "Norms": "Norms and directions",
    "Wayward": "Wayward prompts",
    "Reading summary": "Readings against their nulls",
    "Description match": "Do descriptions fit their own task?",
    "Best descriptions": "Descriptions",
    "Table text": "Numbers of sections 3.1 and 3.2",
    "Table data": "Sizes of the data",
}
"""Names of sections as `Results.report` makes them -> what they say."""

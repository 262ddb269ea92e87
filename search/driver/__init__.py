"""What runs a study: jobs handed out, reports recorded, budget, disk and failures watched, behind one seam."""
